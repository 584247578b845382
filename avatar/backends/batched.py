"""A graph of one session made one of several: the same operations, each on more rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino  # type: ignore[import-untyped]  # has no types


def batched(model: openvino.Model, size: int) -> openvino.Model:
    """`model`, whose inputs have one row each, for `size` rows.

    An export fixes the batch in the shapes that tensors are brought into. The batch is always the
    outermost part of the first axis, so that axis alone grows. What depends on no input stays.
    """
    import openvino as ov
    import openvino.opset13 as ops  # type: ignore[import-untyped]

    grown = model.clone()
    depends: set[str] = set()
    for parameter in grown.get_parameters():
        _, *rest = parameter.get_partial_shape()
        parameter.set_partial_shape(ov.PartialShape([size, *rest]))
        depends.add(parameter.get_friendly_name())
    for node in grown.get_ordered_ops():
        sources = [each.get_source_output().get_node() for each in node.inputs()]
        if not any(each.get_friendly_name() in depends for each in sources):
            continue
        depends.add(node.get_friendly_name())
        if node.get_type_name() == "Reshape" and sources[0].get_friendly_name() in depends:
            shape = sources[1].get_data().copy()
            shape[0] *= size
            node.input(1).replace_source_output(ops.constant(shape).output(0))
    grown.validate_nodes_and_infer_types()
    return grown
