"""DescribeInstanceTypes: what our table of facts says of types (`engine.catalogue`)."""

from batchyard.api.ec2.filters import fits, read_filters
from batchyard.api.ec2.refusals import invalid_token, invalid_value, page_size, refuse_dry_run
from batchyard.engine.catalogue import Fact, facts_by_name
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal
from batchyard.wire.call import Call

_PAGE_SIZE_MIN, _PAGE_SIZE_MAX = 5, 100
_NAMES_MAX = 100
_FILTERS = (
    "instance-type",
    "processor-info.supported-architecture",
    "vcpu-info.default-vcpus",
    "memory-info.size-in-mib",
    "bare-metal",
)


async def describe_instance_types(call: Call, request: Json) -> Json:
    """Show types, in the order of their names. The token is the last name of the page before."""
    del call
    names = _names_in(request)
    filters = read_filters(request, _FILTERS)
    asked = page_size(request, size_min=_PAGE_SIZE_MIN, size_max=_PAGE_SIZE_MAX)
    size = _PAGE_SIZE_MAX if asked is None else asked
    known = facts_by_name()
    found = [known[name] for name in names if fits(_texts_of(known[name]), filters)]
    after: str | None = request.get("NextToken")
    if after is not None:
        if after not in known:
            raise invalid_token(after)
        found = [each for each in found if each.name > after]
    refuse_dry_run(request)
    answer: Json = {"InstanceTypes": [_shown(each) for each in found[:size]]}
    if len(found) > size:
        answer["NextToken"] = found[size - 1].name
    return answer


def _names_in(request: Json) -> list[str]:
    """Give the types that are asked for, in order. Refuses unknown ones, all at once."""
    names: list[str] = request.get("InstanceTypes") or []
    if len(names) > _NAMES_MAX:
        raise invalid_value(f"At most {_NAMES_MAX} instance types can be given.")
    known = facts_by_name()
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown:
        listed = ", ".join(unknown)
        text = f"The following supplied instance types do not exist: [{listed}]"
        raise Refusal("InvalidInstanceType", text)
    return sorted(set(names) or known)


def _texts_of(fact: Fact) -> dict[str, list[str]]:
    return {
        "instance-type": [fact.name],
        "processor-info.supported-architecture": [fact.architecture],
        "vcpu-info.default-vcpus": [str(fact.vcpus)],
        "memory-info.size-in-mib": [str(fact.memory_mib)],
        "bare-metal": [str(fact.name.partition(".")[2].startswith("metal")).lower()],
    }


def _shown(fact: Fact) -> Json:
    shown: Json = {
        "InstanceType": fact.name,
        "BareMetal": fact.name.partition(".")[2].startswith("metal"),
        "SupportedUsageClasses": ["on-demand", *(["spot"] if fact.is_spot else [])],
        "ProcessorInfo": {"SupportedArchitectures": [fact.architecture]},
        "VCpuInfo": {"DefaultVCpus": fact.vcpus},
        "MemoryInfo": {"SizeInMiB": fact.memory_mib},
    }
    if fact.gpu_count:
        shown["GpuInfo"] = {"Gpus": [{"Count": fact.gpu_count}]}
    return shown
