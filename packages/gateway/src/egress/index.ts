export { Egress, type EgressOptions, type RecordsOptions } from './egress.ts'
export { interceptPorts, interceptRanges } from './policy/intercept.ts'
export { parseRule, type Rule } from './policy/rule.ts'
