import { execFileSync } from 'node:child_process'
import { Progress } from '@coppice/protocol/wire'
import { expect, type TestContext, test } from 'vitest'
import type { Driver, SandboxSpec } from '../driver.ts'
import { type Examination, eventually, examined, type Subject } from './subject.ts'

const none = Progress.none()

/**
 * Everything of a root file system but what is mounted and what is the engine's own, one line each, in one order. Not the times of
 * folders into which each sandbox is given something of its own.
 */
const CENSUS = `
cd /
list() { find . -xdev \\( -path './.coppice*' -o -path ./proc -o -path ./sys -o -path ./dev -o -path ./.dockerenv \\
  -o -path ./run/.containerenv -o -path ./etc/hosts -o -path ./etc/hostname -o -path ./etc/resolv.conf -o -path ./etc/mtab \\) -prune \\
  -o "$@" -print0 | sort -z; }
list -type d | xargs -0 -r stat -c '%n %f %u %g'
list -type d ! -path . ! -path ./etc ! -path ./run | xargs -0 -r stat -c '%n %Y'
list ! -type d | xargs -0 -r stat -c '%N %f %u %g %h %Y %s'
list -type f | xargs -0 -r md5sum
`

/** Names with a line's end and with bytes that are no UTF-8 among them. */
const CHANGES = `
mkdir -p /new/deep/er /empty /modes && echo new > /new/deep/er/file && echo changed > /bin/seq.new
rm /bin/ls /bin/tail && mv /bin/seq.new /bin/seq && chmod 700 /bin
echo line > "/new/a
b" && echo bytes > "$(printf '/new/\\377\\376')" && echo long > "/new/$(printf 'x%.0s' $(/bin/busybox seq 200))"
ln /new/deep/er/file /new/hard && ln -s /nowhere/at/all /new/soft && mkfifo /new/fifo
for mode in 000 444 1777 2755 4755 6711; do echo $mode > /modes/$mode && chmod $mode /modes/$mode; done
chown 12:34 /modes/444 && chown -h 65534:1 /new/soft && chown 1:2 /empty && touch -d '2001-02-03 04:05:06' /modes/1777 /bin
`

/** Files as they differ from an image, of one instant. */
export function saveFilesContract(examination: Examination): void {
  test('a driver has `saveFiles` when it declares so', async (context) => {
    const driver = examined(examination, context).open()
    expect(driver.saveFiles !== undefined).toBe(driver.capabilities.checkpoint !== 'none')
    await driver.close()
  })

  test('hold what was written, changed and deleted, with modes, owners, links, times and names as they were', async (context) => {
    const { driver, spec, sh, again } = await saving(examination, context)
    const { pid } = await driver.create(spec, none)
    await sh(spec.id, CHANGES)
    const before = await sh(spec.id, CENSUS)
    const copy = await again(spec)
    expect(await sh(copy.id, CENSUS)).toBe(before)
    expect(await driver.inspect(spec.id)).toMatchObject({ state: 'running', pid })
    expect(await sh(spec.id, CENSUS)).toBe(before)
    await driver.close()
  })

  test('hold what a sandbox made from saved files has changed in them: folders that were made anew show nothing old', async (context) => {
    const { driver, spec, sh, again } = await saving(examination, context)
    await driver.create(spec, none)
    await sh(
      spec.id,
      'mkdir -p /kept/sub /anew/sub /filed && touch /kept/a /kept/sub/b /anew/a /anew/sub/b /filed/x && echo 1 > /n',
    )
    const second = await again(spec)
    await sh(second.id, 'rm -r /anew /filed /kept/a && mkdir /anew && touch /anew/c /filed && echo 2 > /n')
    const before = await sh(second.id, CENSUS)
    const third = await again(second)
    expect(await sh(third.id, CENSUS)).toBe(before)
    expect(await sh(third.id, 'find /kept /anew /filed | sort; cat /n')).toBe(
      '/anew\n/anew/c\n/filed\n/kept\n/kept/sub\n/kept/sub/b\n2\n',
    )
    await driver.close()
  })

  test('of a sandbox in which nothing was changed are those of its image', async (context) => {
    const { driver, spec, sh, again } = await saving(examination, context)
    await driver.create(spec, none)
    const copy = await again(spec)
    expect(await sh(copy.id, CENSUS)).toBe(await sh(spec.id, CENSUS))
    await driver.close()
  })

  test('keep file capabilities', async (context) => {
    const { driver, spec, sh, again } = await saving(examination, context)
    const { pid } = await driver.create(spec, none)
    await sh(spec.id, 'cp /bin/busybox /capable')
    setCapability(pid as number, '/capable', driver.uidBase)
    const copy = await again(spec)
    expect(capability(copy.pid, '/capable')).toBe(capability(pid as number, '/capable'))
    await driver.close()
  })

  test('are of one instant, and what writes meanwhile goes on', async (context) => {
    const { driver, spec, sh, again } = await saving(examination, context)
    await driver.create(spec, none)
    // Each round writes its number into every file in turn: at any instant the first ones are one round ahead, at most.
    await sh(
      spec.id,
      `mkdir /w && cd /w && for f in $(/bin/busybox seq 100 299); do echo 0 > $f; done
      (r=0; while :; do r=$((r + 1)); for f in *; do echo $r > /next && mv /next /w/$f; done; done) > /dev/null 2>&1 &`,
    )
    const rounds = async (id: string) => (await sh(id, 'cat /w/*')).trim().split('\n').map(Number)
    const wrote = () => eventually('the writer', async () => ((await rounds(spec.id))[199] ?? 0) > 0 || undefined)
    await wrote()
    const copy = await again(spec)
    const saved = await rounds(copy.id)
    expect(saved).toHaveLength(200)
    expect(saved).toEqual(saved.toSorted((a, b) => b - a))
    expect((saved[0] ?? 0) - (saved[199] ?? 0)).toBeLessThanOrEqual(1)
    await eventually('the writer to go on', async () =>
      ((await rounds(spec.id))[0] ?? 0) > (saved[0] ?? 0) + 1 ? true : undefined,
    )
    await driver.close()
  })

  test('can be had of a sandbox that uses up its CPU time, every time', async (context) => {
    const { subject, driver, spec, sh } = await saving(examination, context)
    const busy = { ...spec, limits: { ...spec.limits, cpus: 0.1 } }
    await driver.create(busy, none)
    await sh(spec.id, 'for i in 1 2 3 4; do (while :; do :; done) > /dev/null 2>&1 & done')
    for (let round = 0; round < 6; round++) await (await save(driver, spec)).dispose()
    expect(await subject.savingResidue?.()).toEqual([])
    await driver.close()
  })

  test('can be had of a stopped sandbox, which can be started and removed afterwards', async (context) => {
    const { subject, driver, spec, sh, again } = await saving(examination, context)
    await driver.create(spec, none)
    await sh(spec.id, 'echo kept > /kept')
    await driver.stop(spec.id, 10_000, none)
    const copy = await again(spec)
    expect(await sh(copy.id, 'cat /kept')).toBe('kept\n')
    expect(await driver.inspect(spec.id)).toMatchObject({ state: 'stopped', end: { reason: 'stopped' } })
    await driver.start(spec, none)
    expect(await sh(spec.id, 'cat /kept')).toBe('kept\n')
    for (const id of [spec.id, copy.id]) await driver.remove(id, none)
    expect(await subject.residue()).toEqual([])
    await driver.close()
  })

  test('do not change with the sandbox, and are there when it is gone', async (context) => {
    const { subject, driver, spec, sh } = await saving(examination, context)
    await driver.create(spec, none)
    await sh(spec.id, 'echo then > /file')
    const saved = await save(driver, spec)
    await sh(spec.id, 'echo later > /file')
    await driver.remove(spec.id, none)
    const image = await subject.onTop?.(spec, saved)
    const copy = subject.spec(image && { image })
    await driver.create(copy, none)
    expect(await sh(copy.id, 'cat /file')).toBe('then\n')
    expect(await subject.savingResidue?.()).toEqual([])
    await driver.close()
  })

  test('that nobody has read, or not to the end, leave nothing', async (context) => {
    const { subject, driver, spec } = await saving(examination, context)
    await driver.create(spec, none)
    await (await save(driver, spec)).dispose()
    expect(await subject.savingResidue?.()).toEqual([])
    const saved = await save(driver, spec)
    for await (const chunk of saved.chunks) if (chunk.length > 0) break
    await saved.dispose()
    await saved.dispose()
    expect(await subject.savingResidue?.()).toEqual([])
    await driver.close()
  })

  test('that are no longer wanted, at any moment, leave nothing, and the sandbox goes on', async (context) => {
    const { subject, driver, spec, sh } = await saving(examination, context)
    const { pid } = await driver.create(spec, none)
    await sh(spec.id, 'head -c 20000000 /dev/urandom > /big')
    let cut = 0
    for (const afterMs of [0, 3, 8, 15, 30, 60, 100, 150]) {
      const abort = new AbortController()
      const reading = (async () => {
        const saved = await driver.saveFiles?.(spec.id, new Progress({ signal: abort.signal }))
        if (!saved) return
        try {
          for await (const chunk of saved.chunks) if (chunk.length === 0) break
        } finally {
          await saved.dispose()
        }
      })()
      setTimeout(() => abort.abort(), afterMs)
      const outcome = await reading.catch((cause: unknown) => cause)
      if (outcome !== undefined) {
        expect(outcome).toMatchObject({ code: 'cancelled' })
        cut += 1
      }
      expect(await subject.savingResidue?.()).toEqual([])
    }
    expect(cut).toBeGreaterThan(0)
    expect(await driver.inspect(spec.id)).toMatchObject({ state: 'running', pid })
    expect(await sh(spec.id, 'wc -c < /big')).toMatch(/^\s*20000000\n/)
    await driver.close()
  })

  test('of an unknown sandbox are not there', async (context) => {
    const { driver, spec } = await saving(examination, context)
    await expect(driver.saveFiles?.(spec.id, none)).rejects.toMatchObject({
      code: 'not_found',
      reason: 'sandbox_not_found',
    })
    await driver.close()
  })
}

async function save(driver: Driver, { id }: SandboxSpec) {
  const saved = await driver.saveFiles?.(id, none)
  if (!saved) throw new Error('the driver does not save files')
  return saved
}

async function saving(examination: Examination, context: TestContext) {
  const subject = examined(examination, context)
  const driver = subject.open()
  const { inside, onTop } = subject
  if (driver.capabilities.checkpoint === 'none') context.skip('the driver declares no checkpoints')
  if (!inside || !onTop) context.skip('there is no way to run a program inside')
  const sh = async (id: string, script: string): Promise<string> => {
    const { exitCode, output } = await (inside as NonNullable<Subject['inside']>).call(subject, id, [
      'sh',
      '-c',
      script,
    ])
    if (exitCode !== 0) throw new Error(`it ended with ${exitCode}: ${output}`)
    return output
  }
  /** A new sandbox from the files of another. */
  const again = async (spec: SandboxSpec): Promise<SandboxSpec & { pid: number }> => {
    const image = await (onTop as NonNullable<Subject['onTop']>).call(subject, spec, await save(driver, spec))
    const copy = subject.spec({ image })
    const { pid } = await driver.create(copy, none)
    return { ...copy, pid: pid as number }
  }
  return { subject, driver, spec: subject.spec(), sh, again }
}

/** `CAP_NET_BIND_SERVICE`, for root of the namespace whose first id is `root` outside. */
function setCapability(pid: number, path: string, root: number): void {
  const value = Buffer.alloc(root === 0 ? 20 : 24)
  value.writeUInt32LE(root === 0 ? 0x02000001 : 0x03000001)
  value.writeUInt32LE(1 << 10, 4)
  if (root !== 0) value.writeUInt32LE(root, 20)
  execFileSync('setfattr', [
    '-n',
    'security.capability',
    '-v',
    `0x${value.toString('hex')}`,
    `/proc/${pid}/root${path}`,
  ])
}

function capability(pid: number, path: string): string {
  const args = [
    '--absolute-names',
    '--only-values',
    '-e',
    'hex',
    '-n',
    'security.capability',
    `/proc/${pid}/root${path}`,
  ]
  return execFileSync('getfattr', args).toString('hex')
}
