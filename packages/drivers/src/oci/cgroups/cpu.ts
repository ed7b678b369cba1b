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

/** The same in version 2, which takes 1 to 10000: 39 for one core, as Docker has it (shares 2 to 262144 on a straight line). */
export function cpuWeight(cpus: number): number {
  return 1 + Math.floor(((cpuShares(cpus) - 2) * 9999) / 262_142)
}
