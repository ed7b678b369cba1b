/** Microseconds over which a CPU limit is kept: the kernel's and Docker's default. */
export const CPU_PERIOD_US = 100_000

/** The kernel refuses a quota under 1 ms. */
const MIN_QUOTA_US = 1000

/** Microseconds of CPU time in each period. */
export function cpuQuota(cpus: number): number {
  return Math.max(MIN_QUOTA_US, Math.round(cpus * CPU_PERIOD_US))
}

/** Share of a busy host: 1024 for one core, the kernel takes 2 to 262144. */
export function cpuShares(cpus: number): number {
  return Math.min(262_144, Math.max(2, Math.round(cpus * 1024)))
}
