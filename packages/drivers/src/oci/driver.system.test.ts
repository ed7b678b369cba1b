import { describeDriver } from '../contract.ts'
import { OciSubject } from '../testing/oci-subject.ts'

describeDriver('oci', () => OciSubject.open())
