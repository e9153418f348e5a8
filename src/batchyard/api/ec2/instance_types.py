"""DescribeInstanceTypes: what our table of facts says of types (`engine.catalogue`)."""

from collections.abc import Sequence

from batchyard.api.ec2.filters import fits
from batchyard.engine.catalogue import Fact, facts_by_name
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal
from batchyard.wire.call import Call

_PAGE_SIZE_MAX = 100


async def describe_instance_types(call: Call, request: Json) -> Json:
    """Show types, in the order of their names. The token is the last name of the page before."""
    del call
    known = facts_by_name()
    names: Sequence[str] = request.get("InstanceTypes") or sorted(known)
    for name in names:
        if name not in known:
            text = f"The following supplied instance types do not exist: [{name}]"
            raise Refusal("InvalidInstanceType", text)
    filters: Sequence[Json] = request.get("Filters") or ()
    found = [known[name] for name in names if fits(_texts_of(known[name]), filters)]
    size = min(request.get("MaxResults") or _PAGE_SIZE_MAX, _PAGE_SIZE_MAX)
    after: str | None = request.get("NextToken")
    if after is not None:
        at = next((index for index, each in enumerate(found) if each.name == after), None)
        if at is None:
            raise Refusal("InvalidParameterValue", "The token is not of an answer to this request.")
        found = found[at + 1 :]
    answer: Json = {"InstanceTypes": [_shown(each) for each in found[:size]]}
    if len(found) > size:
        answer["NextToken"] = found[size - 1].name
    return answer


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
