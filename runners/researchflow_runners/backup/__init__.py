"""What cannot be rebuilt from the source, saved to a folder or an object store and brought back.

That is: pinned anchors with their rows, registered and composed views, and changes that are known
from nowhere but their writer. Everything else a refresh computes again.

target        where the files are: a folder
object_store  where the files are: an S3-compatible store (the extra `s3`)
manifest      what a backup consists of, with sums; written last
save          one snapshot of the warehouse into a target
restore       a target into an empty warehouse
"""
