// Giving way to the rest of the program in the middle of a long run.

/** ms between two turns of the event loop in a long run; the promise is 16. */
export const YIELD_MS = 8;

/** The next turn of the event loop, without the delay that timers have. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") {
      setImmediate(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
