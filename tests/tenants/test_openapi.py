"""The description of the API says of each operation what it is and how it refuses."""

import pytest
from drf_spectacular.generators import SchemaGenerator

EXAMPLES = ("sources", "sources/{id}/rotate-secret", "subscriptions", "subscriptions/{id}/rotate-secret", "events")


@pytest.fixture(scope="module")
def document():
    return SchemaGenerator().get_schema(public=True)


@pytest.fixture
def operations(document):
    return [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]


def test_each_operation_of_a_path_has_a_summary_and_a_description_of_its_own(document):
    for path, item in document["paths"].items():
        for field in ("summary", "description"):
            said = [operation.get(field) for operation in item.values()]
            assert all(said), (path, field)
            assert len(set(said)) == len(said), (path, said)


def test_each_operation_says_how_it_refuses(operations):
    for path, method, operation in operations:
        refusals = [code for code in operation["responses"] if code.startswith("4")]
        assert refusals, (path, method)


def test_each_operation_belongs_to_a_room(operations):
    rooms = {"tenants", "sources", "events", "subscriptions", "deliveries", "ingest"}
    assert {tag for _, _, operation in operations for tag in operation["tags"]} == rooms


def test_it_names_nothing_that_only_its_authors_know(document):
    for word in ("docs/", "(D5)", "(T1)"):
        assert word not in str(document), word


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_main_requests_have_an_example(document, path):
    body = document["paths"][f"/api/v1/{path}/"]["post"]["requestBody"]
    assert body["content"]["application/json"]["examples"]


@pytest.mark.parametrize(("path", "status"), [("sources", 201), ("subscriptions", 201), ("events", 201)])
def test_the_examples_can_be_sent(api, document, path, status):
    body = document["paths"][f"/api/v1/{path}/"]["post"]["requestBody"]
    for name, example in body["content"]["application/json"]["examples"].items():
        answer = api().post(f"/api/v1/{path}/", example["value"], format="json")
        assert answer.status_code == status, (name, answer.json())
