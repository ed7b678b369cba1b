import type { Candidate, Strategy, Surroundings } from './strategy.ts'

/** An address in an environment variable: `DOCKER_HOST`, and Podman's `CONTAINER_HOST`. */
export class EnvironmentStrategy implements Strategy {
  readonly name: string
  readonly #variable: string
  readonly #chosen: boolean

  /** `chosen`: see `Candidate`. `DOCKER_HOST` chooses no Podman, but may lead to one. */
  constructor(variable: string, chosen: boolean) {
    this.name = variable.toLowerCase().replaceAll('_', '-')
    this.#variable = variable
    this.#chosen = chosen
  }

  async find({ env }: Surroundings): Promise<Candidate[] | { because: string }> {
    const address = env[this.#variable]
    if (!address) return { because: `${this.#variable} is not set` }
    return [{ address, from: this.#variable, chosen: this.#chosen }]
  }
}
