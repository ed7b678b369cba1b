import { deriveJob } from '../derive/derive-job.ts'
import { folderJob } from '../export/oci-folder-job.ts'
import { importJob } from '../import/import-job.ts'
import { pullJob } from '../registry/pull-job.ts'
import { pushJob } from '../registry/push-job.ts'
import { extractJob } from '../unpack/extract.ts'

/** What the bulk thread can do. */
export const JOBS = {
  derive: deriveJob,
  import: importJob,
  pull: pullJob,
  push: pushJob,
  folder: folderJob,
  extract: extractJob,
}
