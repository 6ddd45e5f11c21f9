"""CKAN's own DCAT reader, as its harvester uses it, over our catalogue: every dataset, and the files of the opened ones.

Run by the interpreter of an environment with CKAN; imports nothing of ours: ``python tests/interop/harvest.py FILE``.
"""

import sys
import warnings

warnings.simplefilter("ignore")
from ckanext.dcat.processors import RDFParser  # noqa: E402

OPENED = {"population-by-age": 3, "shelters": 4}


def main(path: str) -> None:
    for profile in ("euro_dcat_ap_2", "euro_dcat_ap_3"):
        parser = RDFParser(profiles=[profile])
        with open(path, "rb") as file:
            parser.parse(file.read(), _format="turtle")
        datasets = {}
        for dataset in parser.datasets():
            extras = {e["key"]: e["value"] for e in dataset["extras"]}
            datasets[extras["identifier"]] = dataset
            assert dataset["title"], extras["identifier"]
            assert dataset["notes"], extras["identifier"]
        for name, files in OPENED.items():
            resources = datasets[name]["resources"]
            assert len(resources) == files, (name, len(resources))
            assert all(r["url"] and r["license"] and r["mimetype"] for r in resources), resources
        assert len(datasets) > len(OPENED) + 10, len(datasets)
        print(f"{profile}: {len(datasets)} datasets, of them {len(OPENED)} with files")


if __name__ == "__main__":
    main(sys.argv[1])
