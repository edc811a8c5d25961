"""The bill of materials, CycloneDX 1.5 in JSON."""

import datetime
import hashlib
import json
import uuid

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "lenscap")


def document(closure, artifact_name, artifact, epoch, toolchain=()):
    """The SBOM's text for one file. `closure` begins with the agent itself; `toolchain` has pairs of a name and a
    version, of what is linked in but no crate: the standard library and libc."""
    agent, *crates = closure
    digest = hashlib.sha256(artifact).hexdigest()
    components = [_component(crate) for crate in crates]
    components += [
        {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version}
        for name, version in toolchain
    ]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, artifact_name + digest)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                **_component(agent, kind="application"),
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "properties": [{"name": "lenscap:file", "value": artifact_name}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": agent.purl, "dependsOn": sorted((*agent.depends, *(f"{n}@{v}" for n, v in toolchain)))},
            *({"ref": crate.purl, "dependsOn": list(crate.depends)} for crate in crates),
        ],
    }
    return (json.dumps(bom, indent=1, ensure_ascii=False) + "\n").encode()


def _component(crate, kind="library"):
    component = {
        "type": kind,
        "bom-ref": crate.purl,
        "name": crate.name,
        "version": crate.version,
        "purl": crate.purl,
    }
    if crate.licence:
        component["licenses"] = [{"expression": crate.licence}]
    if crate.checksum:
        component["hashes"] = [{"alg": "SHA-256", "content": crate.checksum}]
    return component
