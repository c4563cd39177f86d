// Statuses that cross the boundary: one line an error, one number for ever; a number is never reused.

export const OK: i32 = 0;
/** The arena would pass 4 GiB. */
export const E_NO_MEMORY: i32 = -1;
/** The host's memory is not larger than its own high watermark and the pages its VMs need to start. */
export const E_HOST_TOO_SMALL: i32 = -2;
/** A value outside what a live setter takes. */
export const E_RANGE: i32 = -3;

// What calls into the kernel return: its own numbers.

/** No room, or none was made at boot. */
export const ENOMEM: i32 = -12;
/** In use by something that cannot be moved. */
export const EBUSY: i32 = -16;
/** Given up when its time was over. */
export const EINTR: i32 = -4;
export const EEXIST: i32 = -17;
/** The VM, or its process, is gone. */
export const ENODEV: i32 = -19;
export const EINVAL: i32 = -22;
/** Less could be reclaimed than was asked for. */
export const EAGAIN: i32 = -11;

// What a step of an actor returns.

/** The operation is complete; the caller goes on in the same step. */
export const STEP_DONE: i32 = 0;
/** Time has passed: the same operation goes on at the actor's clock, others may come first. */
export const STEP_AGAIN: i32 = 1;
/** The actor waits; whoever it waits for wakes it. */
export const STEP_BLOCKED: i32 = 2;
/** No memory can be had: the run ends. */
export const STEP_OOM: i32 = 3;
/** A page that cannot be read from its device is needed: the run ends. */
export const STEP_READ_ERROR: i32 = 4;
