/** The doctor's program. Whatever is wrong with the rest of the tree, its exit status says what it means. */

/** Exit status of a doctor that could not run: 1 would say that it found something. */
const COULD_NOT_RUN = 2

for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
try {
  const { runDoctor } = await import('./run.ts')
  process.exitCode = await runDoctor(process.argv.slice(2))
} catch (error) {
  console.error(error)
  process.exitCode = COULD_NOT_RUN
}
// A look that hangs in the kernel must not keep this program alive once everything has been said.
await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))))
process.exit()
