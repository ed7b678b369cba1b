import { describeDriver } from '../contract.ts'
import { EngineSubject } from '../testing/engine-subject.ts'

describeDriver('podman', () => EngineSubject.open('podman'))
