import { describeDriver } from '../contract.ts'
import { ProcessSubject } from '../testing/process-subject.ts'

describeDriver('process', () => ProcessSubject.open())
