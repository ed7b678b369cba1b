const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** A number of bytes as it stands in messages: `1.5 GiB`, the units in which progress is told. */
export function inUnits(bytes: number): string {
  const unit = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)))
  return `${unit === 0 ? bytes : (bytes / 1024 ** unit).toFixed(1)} ${UNITS[unit]}`
}
