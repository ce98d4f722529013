import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Memory a foreign call may read or write. Its bytes must lie outside the JavaScript heap: any typed array over 64 bytes does. */
export type Memory = ArrayBufferView | null;

/** The C library functions Warta calls, as declared in POSIX and the Linux manual. All return -1 on error; see `errno`. */
export interface Libc {
  socket(family: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, option: number, value: Memory, bytes: number): number;
  bind(fd: number, address: Memory, bytes: number): number;
  connect(fd: number, address: Memory, bytes: number): number;
  getsockname(fd: number, address: Memory, bytes: Memory): number;
  close(fd: number): number;
  recvmmsg(fd: number, headers: Memory, count: number, flags: number, timeout: Memory): number;
  sendmmsg(fd: number, headers: Memory, count: number, flags: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Memory): number;
  epoll_wait(epoll: number, events: Memory, count: number, timeoutMillis: number): number;
  madvise(address: bigint, bytes: number, advice: number): number;
  malloc_trim(pad: number): number;
  setpriority(which: number, who: number, niceness: number): number;
  /** Error number of this thread's last failed call. */
  errno(): number;
  /** Address of a view's first byte. Valid as long as the view's buffer is reachable: memory outside the heap never moves. */
  address(view: ArrayBufferView): bigint;
}

/** Error numbers on Linux, the same on x86-64 and arm64. */
export const ERRNO = { EINTR: 4, EAGAIN: 11, ENOBUFS: 105, ECONNREFUSED: 111 } as const;

const DECLARATIONS = [
  'int socket(int, int, int)',
  'int setsockopt(int, int, int, void*, uint)',
  'int bind(int, void*, uint)',
  'int connect(int, void*, uint)',
  'int getsockname(int, void*, void*)',
  'int close(int)',
  'int recvmmsg(int, void*, uint, int, void*)',
  'int sendmmsg(int, void*, uint, int)',
  'int epoll_create1(int)',
  'int epoll_ctl(int, int, int, void*)',
  'int epoll_wait(int, void*, int, int)',
  'int madvise(int64, size_t, int)',
  'int malloc_trim(size_t)',
  'int setpriority(int, uint, int)',
] as const;

let loaded: Libc | undefined;

/**
 * Loads the C library's functions, or throws when this is not 64-bit Linux with glibc or koffi has no build for it. This is
 * the one file with foreign calls: a change to another FFI stays here.
 */
export function loadLibc(): Libc {
  if (loaded !== undefined) return loaded;
  const ill = process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64');
  if (ill) throw new Error(`batch I/O needs 64-bit Linux, this is ${process.platform} ${process.arch}`);
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const library = koffi.load('libc.so.6');
  const functions: Record<string, unknown> = {};
  for (const declaration of DECLARATIONS) {
    functions[/ (\w+)\(/.exec(declaration)![1]!] = library.func(declaration);
  }
  loaded = {
    ...(functions as unknown as Libc),
    errno: () => koffi.errno(),
    address: (view) => BigInt(koffi.address(view) as unknown as bigint),
  };
  return loaded;
}

const HUGE_PAGE_BYTES = 1 << 21;
const MADV_HUGEPAGE = 14;

/**
 * Allocates shared memory and asks the kernel for huge pages before it is touched. A lookup in a big rule table reads a few
 * random cache lines; with 4 KiB pages each read also misses the TLB, which costs as much again.
 */
export function allocateTable(sizeBytes: number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(sizeBytes);
  if (sizeBytes < 2 * HUGE_PAGE_BYTES) return buffer;
  try {
    const libc = loadLibc();
    const start = libc.address(new Uint8Array(buffer));
    const mask = BigInt(HUGE_PAGE_BYTES - 1);
    const first = (start + mask) & ~mask;
    const last = (start + BigInt(sizeBytes)) & ~mask;
    libc.madvise(first, Number(last - first), MADV_HUGEPAGE);
  } catch {
    // Huge pages are only an optimisation; without FFI the table works on ordinary ones.
  }
  return buffer;
}

const PAGE_BYTES = 4096;
const MADV_DONTNEED = 4;

/**
 * Gives the memory behind a view back to the system at once: whole pages of it read as zero from then on. Nothing may need
 * what it held. What a garbage collector frees goes back when it likes, which is late for a buffer that another is to take
 * the place of. Without FFI nothing happens.
 */
export function releaseMemory(view: NonNullable<Memory>): void {
  try {
    const libc = loadLibc();
    const mask = BigInt(PAGE_BYTES - 1);
    const start = libc.address(view);
    const first = (start + mask) & ~mask;
    const last = (start + BigInt(view.byteLength)) & ~mask;
    if (first < last) libc.madvise(first, Number(last - first), MADV_DONTNEED);
  } catch {
    // Only an optimisation.
  }
}

/**
 * Gives back to the system what was freed in this process and is kept for later: tens of megabytes after thousands of
 * downloads, in a few milliseconds. For right before something large is made. Without FFI nothing happens.
 */
export function releaseFreedMemory(): void {
  try {
    loadLibc().malloc_trim(0);
  } catch {
    // Only an optimisation.
  }
}

const PRIO_PROCESS = 0;
const POOL_THREAD = 'libuv-worker\n';
/** A ninth of the weight of other threads. */
const POOL_NICENESS = 10;

/**
 * Lets the threads of libuv's pool give way to every other thread of the process, for good: four of them that verify
 * signatures would leave a thread with other work a fifth of two cores, and queries too. Threads exist once the pool was
 * used. Without FFI nothing happens.
 */
export function yieldPoolThreads(): void {
  try {
    const libc = loadLibc();
    for (const thread of readdirSync('/proc/self/task')) {
      const name = readFileSync(`/proc/self/task/${thread}/comm`, 'latin1');
      if (name === POOL_THREAD) libc.setpriority(PRIO_PROCESS, Number(thread), POOL_NICENESS);
    }
  } catch {
    // Only an optimisation.
  }
}
