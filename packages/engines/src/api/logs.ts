/** Bytes in front of each piece of a container's output: stream, three zeros, length. */
const HEADER = 8

/** Takes apart what an engine sends for a container without a terminal: output and error in one, in the order in which they came. */
export async function* demultiplex(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held: Buffer = Buffer.alloc(0)
  let wanted = 0
  for await (const chunk of body) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    for (;;) {
      if (wanted === 0) {
        if (held.length < HEADER) break
        wanted = held.readUInt32BE(4)
        held = held.subarray(HEADER)
        continue
      }
      if (held.length === 0) break
      // A piece may be long: it is handed on as it comes.
      const piece = held.subarray(0, wanted)
      held = held.subarray(piece.length)
      wanted -= piece.length
      yield piece
    }
  }
}
