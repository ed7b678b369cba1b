import { describeDriver } from '../contract.ts'
import { EngineSubject } from '../testing/engine-subject.ts'

describeDriver('docker', () => EngineSubject.open('docker'))
