"""`include`: where files are looked for, in which order they are merged, and what wins."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.configuration.include import merge, read_all
from penstock.configuration.problems import Place, Problems
from penstock.configuration.source import Node
from tests.configuration.loaded import errors, warnings, write

_HERE = Place("f", 1)


def _node(value):
    if isinstance(value, list):
        return Node([_node(item) for item in value], _HERE)
    if isinstance(value, dict):
        return Node({key: _node(item) for key, item in value.items()}, _HERE)
    return Node(value, _HERE, str(value))


_VALUES = st.integers() | st.lists(st.integers(), max_size=3) | st.dictionaries(st.sampled_from("xy"), st.integers())
_FILES = st.dictionaries(st.sampled_from("abcd"), _VALUES)


@given(_FILES, _FILES)
def test_merging_appends_lists_and_overrides_everything_else(base, included):
    merged = merge({k: _node(v) for k, v in base.items()}, {k: _node(v) for k, v in included.items()})
    assert merged.keys() == base.keys() | included.keys()
    for key, node in merged.items():
        if key not in included:
            assert node.plain() == base[key]
        elif isinstance(included[key], list) and isinstance(base.get(key), list):
            assert node.plain() == base[key] + included[key]
        else:
            assert node.plain() == included[key]


def _read(path):
    problems = Problems()
    tree = {key: node.plain() for key, node in read_all(path, problems).items()}
    problems.check()
    return tree, problems.warnings


def test_nested_files_are_merged_breadth_first_and_each_once(tmp_path):
    write(tmp_path, "include: [config.yaml]\nl: [d]\n", "sub/deep.yaml")
    write(tmp_path, "include: [deep.yaml, ../config.yaml]\nl: [b]\ng: {b: 1}\n", "sub/b.yaml")
    write(tmp_path, "l: [c]\nx: c\n", "c.yaml")
    root = write(tmp_path, "include: [sub/b.yaml, c.yaml, sub/b.yaml]\nl: [a]\ng: {a: 1, z: 2}\nx: a\n")
    assert _read(root)[0] == {"l": ["a", "b", "c", "d"], "g": {"b": 1}, "x": "c"}


def test_a_path_is_relative_to_the_file_that_names_it_else_to_the_root_with_a_warning(tmp_path):
    write(tmp_path, "l: [root]\n", "other.yaml")
    write(tmp_path, "include: [other.yaml]\n", "sub/a.yaml")
    root = write(tmp_path, "include: [sub/a.yaml]\n")
    tree, warned = _read(root)
    assert tree == {"l": ["root"]}
    assert len(warned) == 1
    assert warned[0].startswith(f"{tmp_path}/sub/a.yaml:1: include[0]: not found beside")
    write(tmp_path, "l: [beside]\n", "sub/other.yaml")
    tree, warned = _read(root)
    assert tree == {"l": ["beside"]}
    assert "names two files" in warned[0]


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    models = write(tmp_path / "elsewhere", "l: [1]\n", "models.yaml")
    assert _read(write(tmp_path, f"include: [{models}]\n"))[0] == {"l": [1]}


def test_every_missing_file_is_named_with_its_line(tmp_path):
    text = """
        include:
          - one.yaml
          - {a: b}
          - two.yaml
        """
    assert errors(tmp_path, text) == [
        "config.yaml:3: include[1]: a file path is wanted",
        "config.yaml:2: include[0]: no such file: one.yaml",
        "config.yaml:4: include[2]: no such file: two.yaml",
    ]


def test_include_must_be_a_list(tmp_path):
    assert errors(tmp_path, "include: models.yaml\n") == ["config.yaml:1: include: a list of file paths is wanted"]


def test_an_error_in_an_included_file_names_that_file_and_its_own_index(tmp_path):
    write(tmp_path, "model_list:\n- {model_name: a, litellm_params: {model: gpt-4o, timeout: soon}}\n", "m.yaml")
    text = "include: [m.yaml]\nmodel_list: [{model_name: b, litellm_params: {model: gpt-4o}}]\n"
    assert errors(tmp_path, text) == [
        'm.yaml:2: model_list[0].litellm_params.timeout: a number is wanted, not "soon"',
    ]


def test_an_included_section_replaces_the_whole_one(tmp_path):
    write(tmp_path, "general_settings: {alerting: [slack]}\n", "m.yaml")
    text = "include: [m.yaml]\ngeneral_settings: {store_model_in_db: true}\n"
    assert warnings(tmp_path, text) == ["general_settings.alerting: not supported yet, has no effect (m.yaml:1)"]
