"""Which S3 operations the tests of the gateway are about; `conftest` marks them so.

`pytest tests/gateway -m s3` runs them; `python -m tests.gateway.conformance` prints how many
cases each operation has. A test that is not named here is about what its module is about.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

OPERATIONS = (
    "ListBuckets",
    "CreateBucket",
    "HeadBucket",
    "DeleteBucket",
    "GetBucketLocation",
    "Settings of buckets",
    "ListObjects",
    "ListObjectsV2",
    "ListObjectVersions",
    "GetObject",
    "HeadObject",
    "GetObjectAttributes",
    "PutObject",
    "CopyObject",
    "DeleteObject",
    "DeleteObjects",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "ListParts",
    "ListMultipartUploads",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "Signatures",
    "Presigned URLs",
)

_LISTINGS = ("ListObjects", "ListObjectsV2", "ListObjectVersions")
_READING = ("GetObject", "HeadObject")

MODULES: dict[str, tuple[str, ...]] = {
    "test_listing": ("ListObjects", "ListObjectsV2"),
    "test_reading": ("GetObject",),
    "test_writing": ("PutObject",),
    "test_checksums": ("PutObject",),
    "test_multipart": ("CompleteMultipartUpload",),
    "test_buckets": ("CreateBucket",),
    "test_access": ("Signatures",),
    "test_reference": (),
    "test_sigv4": ("Signatures",),
    "test_sigv2": ("Presigned URLs",),
    "test_chunked": ("PutObject",),
    "test_xml": ("DeleteObjects", "CompleteMultipartUpload"),
}

TESTS: dict[str, tuple[str, ...]] = {
    # listings
    "test_versions_are_called_null": ("ListObjectVersions",),
    "test_versions_of_a_prefix_and_by_group": ("ListObjectVersions",),
    "test_pages_together_are_the_listing": ("ListObjects", "ListObjectsV2"),
    "test_names_can_be_percent_encoded": _LISTINGS,
    "test_no_keys_at_all": _LISTINGS,
    "test_bucket_that_is_not_there": (*_LISTINGS, "ListMultipartUploads"),
    "test_paginators_of_a_client": _LISTINGS,
    "test_a_token_counts_more_than_start_after": ("ListObjectsV2",),
    "test_list_objects": ("ListObjects",),
    "test_list_objects_v2": ("ListObjectsV2",),
    "test_list_object_versions": ("ListObjectVersions",),
    # reading
    "test_conditions": _READING,
    "test_ranges": _READING,
    "test_headers_come_back": _READING,
    "test_get_and_head_object": _READING,
    "test_attributes": ("GetObjectAttributes",),
    "test_attributes_there_are_none_of": ("GetObjectAttributes",),
    "test_get_object_attributes": ("GetObjectAttributes",),
    # writing
    "test_copy_keeps_what_is_told_of_the_source": ("CopyObject",),
    "test_copy_with_new_metadata": ("CopyObject",),
    "test_copy_onto_itself": ("CopyObject",),
    "test_copy_with_a_checksum_the_source_has_not": ("CopyObject",),
    "test_conditions_of_the_source": ("CopyObject",),
    "test_sources_there_are_none_of": ("CopyObject",),
    "test_condition_of_the_target": ("CopyObject",),
    "test_copy_object": ("CopyObject",),
    "test_deleting": ("DeleteObject",),
    "test_delete_object": ("DeleteObject",),
    "test_deleting_many": ("DeleteObjects",),
    "test_deleting_many_quietly": ("DeleteObjects",),
    "test_deleting_a_thousand": ("DeleteObjects",),
    "test_deleting_nonsense": ("DeleteObjects",),
    "test_deletion_is_checked_against_its_digest": ("DeleteObjects",),
    "test_deletion_by_checksum_and_by_etag": ("DeleteObjects",),
    "test_delete_objects": ("DeleteObjects",),
    "test_put_object": ("PutObject",),
    "test_client_checks_what_it_gets": _READING,
    # uploads in parts
    "test_upload_in_parts": ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
    "test_checksums_that_do_not_go": ("CreateMultipartUpload",),
    "test_upload_into_a_bucket_that_is_not_there": ("CreateMultipartUpload",),
    "test_create_multipart_upload": ("CreateMultipartUpload",),
    "test_part_numbers": ("UploadPart",),
    "test_part_is_replaced_by_a_later_one": ("UploadPart",),
    "test_part_with_another_checksum_than_was_said": ("UploadPart",),
    "test_upload_part": ("UploadPart",),
    "test_copying_a_part": ("UploadPartCopy",),
    "test_ranges_of_a_copied_part": ("UploadPartCopy",),
    "test_upload_part_copy": ("UploadPartCopy",),
    "test_uploads_there_are_none_of": (
        "UploadPart",
        "ListParts",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
    ),
    "test_upload_belongs_to_its_key": ("UploadPart", "ListParts", "AbortMultipartUpload"),
    "test_listing_parts": ("ListParts",),
    "test_list_parts": ("ListParts",),
    "test_listing_uploads": ("ListMultipartUploads",),
    "test_list_multipart_uploads": ("ListMultipartUploads",),
    "test_complete_multipart_upload": ("CompleteMultipartUpload",),
    "test_aborting": ("AbortMultipartUpload",),
    "test_abort_multipart_upload": ("AbortMultipartUpload",),
    # buckets
    "test_made_listed_and_deleted": ("CreateBucket", "DeleteBucket", "ListBuckets"),
    "test_names_that_are_some": ("CreateBucket", "DeleteBucket"),
    "test_hostile_names": ("CreateBucket", "HeadBucket", "DeleteBucket", "ListObjects"),
    "test_listing_buckets": ("ListBuckets",),
    "test_listing_buckets_by_page": ("ListBuckets",),
    "test_list_buckets": ("ListBuckets",),
    "test_methods_on_the_service": ("ListBuckets",),
    "test_path_without_a_bucket": ("ListBuckets",),
    "test_location": ("GetBucketLocation",),
    "test_get_bucket_location": ("GetBucketLocation",),
    "test_access_list_of_a_bucket": ("Settings of buckets",),
    "test_settings_every_bucket_has": ("Settings of buckets",),
    "test_settings_no_bucket_has": ("Settings of buckets",),
    "test_settings_there_are_none_of": ("Settings of buckets",),
    "test_create_bucket": ("CreateBucket",),
    "test_head_bucket": ("HeadBucket",),
    "test_delete_bucket": ("DeleteBucket",),
    # who asks
    "test_presigned_put": ("Presigned URLs", "PutObject"),
    "test_presigned_that_has_ended": ("Presigned URLs",),
    "test_wrong_presigned": ("Presigned URLs",),
    "test_presigned_is_refused_before_and_after": ("Presigned URLs",),
    "test_published_presigned_example_verifies_while_it_lasts": ("Presigned URLs",),
    "test_lifetime_of_a_presigned_url": ("Presigned URLs",),
    "test_an_empty_authorization_is_none": ("Signatures",),
    # of this program rather than of S3
    "test_health_needs_nothing": (),
    "test_connection_without_any_request_is_left_alone": (),
    "test_secrets_are_in_no_list_of_processes": (),
    "test_keys_come_and_go_while_it_runs": (),
    "test_keys_that_others_may_read_are_not_taken": (),
    "test_client_that_reads_nothing_holds_nobody_up": (),
}


def operations_of(module: str, test: str) -> tuple[str, ...]:
    """The operations a test is about; none for those that are about something else."""
    if module not in MODULES:
        return ()
    return TESTS.get(test, MODULES[module])


def collected() -> list[tuple[str, str]]:
    """Module and test of every case there is."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, "-m", "s3", "tests/gateway", "tests/unit/gateway"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    cases = [line for line in done.stdout.splitlines() if "::" in line]
    parts = [case.partition("[")[0].split("::") for case in cases]
    return [(Path(file).stem, test) for file, test in parts]


def counted(cases: list[tuple[str, str]]) -> dict[str, int]:
    """Operation → number of cases; one about several operations counts for each."""
    count = Counter(operation for case in cases for operation in operations_of(*case))
    return {operation: count[operation] for operation in OPERATIONS}


def main() -> None:
    """Print the table."""
    cases = collected()
    for operation, number in counted(cases).items():
        print(f"{number:5}  {operation}")
    print(f"{len(cases):5}  cases in all")


if __name__ == "__main__":
    main()
