"""Every limit, with its source. A limit that is not here does not exist."""

# AWS Batch, per account and region (reference/compute-and-scheduling.md section 7).
QUEUE_COUNT_MAX = 50
ENVIRONMENT_COUNT_MAX = 50
ENVIRONMENTS_PER_QUEUE_MAX = 3
SERVICE_ENVIRONMENT_COUNT_MAX = 50
SERVICE_ENVIRONMENTS_PER_QUEUE_MAX = 1
CAPACITY_LIMITS_PER_SERVICE_ENVIRONMENT_MAX = 5
SUBMIT_SERVICE_JOB_BYTES_MAX = 30 * 1024
SERVICE_REQUEST_PAYLOAD_BYTES_MAX = 10 * 1024
TIME_LIMIT_SECONDS_MIN = 600
TIME_LIMIT_SECONDS_MAX = 86_400
CONSUMABLE_COUNT_MAX = 50_000
ACTIVE_SHARES_PER_QUEUE_MAX = 500
SUBMIT_JOB_BYTES_MAX = 30 * 1024
DEFINITION_BYTES_MAX = 24 * 1024
DESCRIBE_IDS_MAX = 100
BULK_STOP_JOBS_MAX = 50
PAGE_SIZE_MAX = 100
LIST_JOBS_PAGE_SIZE_MAX = 1000
FRONT_OF_QUEUE_JOBS_MAX = 100
TOP_SHARES_SHOWN_MAX = 20

# Scheduling policies (reference/compute-and-scheduling.md section 3.2). A decay of 0 is the least.
SHARE_DECAY_SECONDS_MIN = 600
SHARE_DECAY_SECONDS_MAX = 604_800
COMPUTE_RESERVATION_MAX = 99
WEIGHT_FACTOR_MIN = 0.0001
WEIGHT_FACTOR_MAX = 999.9999
SHARE_IDENTIFIER_LENGTH_MAX = 255

# Quota shares (reference/compute-and-scheduling.md sections 3.4 and 7).
QUOTA_SHARES_PER_QUEUE_MAX = 20
CAPACITY_LIMITS_PER_SHARE_MAX = 5
# Ours: of one capacity limit, so that sums in thousandths fit the database's integers.
MAX_CAPACITY_MAX = 10**9
# Ours: of the attempts of a job that were preempted, how many of the last are kept.
PREEMPTED_ATTEMPTS_KEPT_MAX = 10

# Jobs and job definitions (reference/jobs.md section 16).
NAME_LENGTH_MAX = 128
IMAGE_LENGTH_MAX = 255
DEPENDENCIES_PER_JOB_MAX = 20
ATTEMPTS_MAX = 10
EXIT_RULES_MAX = 5
EXIT_PATTERN_LENGTH_MAX = 512
TIMEOUT_SECONDS_MIN = 60
REASON_LENGTH_MAX = 1024
CONTAINER_REASON_LENGTH_MAX = 255
SCHEDULING_PRIORITY_MAX = 9999
QUEUE_PRIORITY_MAX = 1000
#: From the notice of a Spot interruption to the end of the instance, on AWS.
SPOT_NOTICE_SECONDS = 120
SPOT_NOTICE_SECONDS_MAX = 86_400
MEMORY_MIB_MIN = 4
CONSUMABLES_PER_JOB_MAX = 5
STREAM_PREFIX_LENGTH_MAX = 200
ARRAY_SIZE_MIN = 2
ARRAY_SIZE_MAX = 10_000
NODE_COUNT_MAX = 1000
NODE_RANGES_MAX = 5
TASK_CONTAINERS_MAX = 10
CONTAINER_TIMEOUT_SECONDS_MIN = 2
FARGATE_CONTAINER_TIMEOUT_SECONDS_MAX = 120
POD_CONTAINERS_MAX = 10
POD_IMAGES_PER_NODE_RANGE_MAX = 10
ENVIRONMENTS_PER_EKS_CLUSTER_MAX = 5
TAGS_PER_RESOURCE_MAX = 50
TAG_KEY_LENGTH_MAX = 128
TAG_VALUE_LENGTH_MAX = 256

# From SIGTERM to SIGKILL (reference/jobs.md section 7).
STOP_GRACE_MS = 30_000
# The same for training jobs (SageMaker's StopTrainingJob).
TRAINING_STOP_GRACE_MS = 120_000
# SageMaker's default of StoppingCondition.MaxRuntimeInSeconds.
TRAINING_SECONDS_DEFAULT = 86_400
# An Integer of SageMaker's service model.
TRAINING_SECONDS_MAX = 2_147_483_647

# For so long a repeated clientToken counts as the same request (the service model).
CLIENT_TOKEN_MS = 8 * 60 * 60 * 1000
CLIENT_TOKEN_LENGTH_MAX = 64

# Ours: of a consumable resource in all, so that sums fit the database's integers.
CONSUMABLE_QUANTITY_MAX = 10**18

# Ours: the largest request body of any operation (PutLogEvents takes 1 MiB of messages, sent as
# JSON).
REQUEST_BYTES_MAX = 8 * 1024 * 1024

# Ours: what a request may have before its signature is looked at. A head holds a presigned URL and
# a session token with room to spare. A form's parameters are taken apart to find the operation,
# which costs microseconds for each; CloudWatch's PutMetricData takes 1 MB, as the longest of them.
REQUEST_HEAD_BYTES_MAX = 64 * 1024
FORM_BYTES_MAX = 1024 * 1024
FORM_PARAMETERS_MAX = 10_000

# Ours: rows in one group commit, and wishes taken in one turn of the engine; both keep a turn
# short.
GROUP_COMMIT_ROWS_MAX = 256
WISHES_PER_TURN_MAX = 500

# Ours: instances of one registration, and what each may have: 1 PiB of memory.
REGISTERED_COUNT_MAX = 1000
REGISTERED_VCPUS_MAX = 100_000
REGISTERED_MEMORY_MIB_MAX = 1024**3
REGISTERED_GPUS_MAX = 1024

# Ours: jobs of a queue that is being deleted, ended in one turn (AWS ends about 16 a second).
DRAINED_JOBS_PER_TURN_MAX = 500
