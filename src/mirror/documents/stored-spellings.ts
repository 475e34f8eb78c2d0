// The queries under which documents of a repo may be stored, from which others are composed. Earlier versions stored each spelling
// of a query by itself, and `True` is one of huggingface_hub 0.

/** Of a whole listing: as clients ask, and with what changes later. */
export const WHOLE_TREES = [
  '?recursive=true',
  '?recursive=true&expand=false',
  '?recursive=True&expand=False',
  '?recursive=True',
  '?recursive=1',
  '?recursive=true&expand=true',
  '?recursive=True&expand=True',
]
/** Of an info. */
export const INFOS = ['', '?blobs=true', '?blobs=True']
/** Of the list of refs. */
export const REFS = ['?include_prs=1', '?include_prs=true', '?include_prs=True', '']
