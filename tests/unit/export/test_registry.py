"""The export formats by name: each is what its name says, and keeps the contract."""

import pytest

from proxtune.checks import check_export
from proxtune.errors import UserError
from proxtune.export.registry import EXPORTS, find_format, format_names


@pytest.mark.parametrize("name", EXPORTS.built_in)
def test_each_format_keeps_the_contract(name, run_with_adapter, converter):
    converter("model, _, out = sys.argv[1:]\nopen(out, 'wb').write(open(model + '/model.safetensors', 'rb').read())")
    assert find_format(name).name == name
    check_export(find_format(name), run_with_adapter)


def test_an_unknown_format_is_told_with_those_there_are():
    assert format_names()[:3] == ("safetensors", "adapter", "gguf")
    with pytest.raises(UserError, match=r"unknown export format 'pickle'; choose one of safetensors, adapter, gguf"):
        find_format("pickle")
