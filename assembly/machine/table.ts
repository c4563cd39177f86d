// The table into which reports write their rows, f64 each; the binding reads it through a view.

const TABLE: usize = memory.data(8 * 128, 8);

export function table(): usize {
  return TABLE;
}

export function put(index: u32, value: f64): void {
  store<f64>(TABLE + ((<usize>index) << 3), value);
}
