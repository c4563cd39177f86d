import { arenaTake, PART_RECORDS } from "../memory/arena";
import { mmStocks, setMmStocks } from "./instance";
import { memcgBatch, memcgMax, memcgUncharge, memcgUsage, setMemcgUsage } from "./memcg";
import { spaceMemcg } from "./space";

// Charging a page to a cgroup: try_charge_memcg() with the per-CPU stocks. A CPU charges a batch at once (Linux: 64 pages) and keeps
// what it does not need, for one cgroup at a time; near the limit it charges single pages. A cgroup's usage therefore runs ahead
// of its pages by what the CPUs have in stock. With batches of one page there are no stocks.
//
// stocks   0       4
//          +-------+-------+
//          | space | pages |  one a CPU
//          +-------+-------+

const STOCK_BYTES: usize = 8;
const PAGES: usize = 4;

/** Takes the stocks of a host of `cpus` CPUs. False when memory is exhausted. */
export function stocksCreate(mm: usize, cpus: u32): bool {
  const stocks = arenaTake(PART_RECORDS, <u64>cpus * STOCK_BYTES);
  if (stocks === 0) return false;
  setMmStocks(mm, stocks);
  return true;
}

function stockOf(mm: usize, cpu: u32): usize {
  return mmStocks(mm) + <usize>cpu * STOCK_BYTES;
}

/**
 * Charges one page to the cgroup of `space`, on `cpu`.
 * @param single charge no more than the page: an attempt at the whole batch has failed
 * @returns false when the cgroup is at its limit
 */
export function tryCharge(mm: usize, cpu: u32, space: usize, single: bool): bool {
  const stock = stockOf(mm, cpu);
  const pages = load<u32>(stock, PAGES);
  if (load<u32>(stock) === <u32>space && pages !== 0) {
    store<u32>(stock, pages - 1, PAGES);
    return true;
  }
  const memcg = spaceMemcg(space);
  const usage = memcgUsage(memcg);
  const max = memcgMax(memcg);
  const batch = memcgBatch(memcg);
  if (!single && batch > 1 && <u64>usage + batch <= <u64>max) {
    setMemcgUsage(memcg, usage + batch);
    refill(mm, cpu, space, batch - 1);
    return true;
  }
  if (usage >= max) return false;
  setMemcgUsage(memcg, usage + 1);
  return true;
}

/** The cgroup of `space` is exactly at its limit and `cpu` has nothing in stock for it: tryCharge() would fail, and succeed when a page has gone. */
export function chargeFull(mm: usize, cpu: u32, space: usize): bool {
  const stock = stockOf(mm, cpu);
  if (load<u32>(stock) === <u32>space && load<u32>(stock, PAGES) !== 0) return false;
  const memcg = spaceMemcg(space);
  return memcgUsage(memcg) === memcgMax(memcg);
}

// refill_stock()
function refill(mm: usize, cpu: u32, space: usize, pages: u32): void {
  const stock = stockOf(mm, cpu);
  if (load<u32>(stock) !== <u32>space) drain(stock);
  store<u32>(stock, <u32>space);
  store<u32>(stock, load<u32>(stock, PAGES) + pages, PAGES);
}

function drain(stock: usize): void {
  const space = <usize>load<u32>(stock);
  if (space !== 0) memcgUncharge(spaceMemcg(space), load<u32>(stock, PAGES));
  store<u32>(stock, 0);
  store<u32>(stock, 0, PAGES);
}

/** drain_all_stock(): what any CPU has in stock for the cgroup of `space` is charged no more. */
export function stocksDrain(mm: usize, cpus: u32, space: usize): void {
  for (let cpu: u32 = 0; cpu < cpus; cpu++) {
    if (load<u32>(stockOf(mm, cpu)) === <u32>space) drain(stockOf(mm, cpu));
  }
}

/** Pages that CPUs have in stock, of all cgroups. */
export function stockedPages(mm: usize, cpus: u32): u32 {
  let pages: u32 = 0;
  for (let cpu: u32 = 0; cpu < cpus; cpu++) pages += load<u32>(stockOf(mm, cpu), PAGES);
  return pages;
}
