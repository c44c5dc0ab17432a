"""Reading what a TPU program does, on lines as the compiler writes them."""

import pytest

from consensus_jax.training import hlo

TEXT = """\
HloModule jit_step, is_scheduled=true

%condition (state: (s32[], bf16[1,64,128])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(80)
  %state = (s32[]{:T(128)}, bf16[1,64,128]{2,1,0}) parameter(0)
  %counter = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %lt = pred[]{:T(512)} compare(%counter, %constant.1), direction=LT
}

%product (p0: bf16[64,128]) -> f32[64,128] {
  %p0 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %dot = f32[64,128]{1,0:T(8,128)} convolution(%p0, %p0), \
backend_config={"window_config":{"estimated_cycles":"999"}}
}

%all-reduce-scatter (input: bf16[64,128]) -> bf16[16,128] {
  %input = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %all-reduce.4 = bf16[64,128]{1,0:T(8,128)(2,1)} all-reduce(%input), \
channel_id=4, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %slice = bf16[16,128]{1,0} dynamic-slice(%all-reduce.4, %zero)
}

%beside.1 (p0: bf16[16,128]) -> bf16[64,128] {
  ROOT %all-gather.7 = bf16[64,128]{1,0:T(8,128)(2,1)} all-gather(%p0), \
channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}
}

%beside.2 (p0: bf16[16,128]) -> bf16[64,128] {
  ROOT %all-gather.8 = bf16[64,128]{1,0:T(8,128)(2,1)} all-gather(%p0), \
channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}
}

%body (state: (s32[], bf16[1,64,128])) -> (s32[], bf16[1,64,128]) {
  %fusion.1 = f32[64,128]{1,0:T(8,128)} fusion(%x), kind=kOutput, \
calls=%product, backend_config={"window_config":{"estimated_cycles":"1000"}}
  %fusion.2 = bf16[16,128]{1,0} fusion(%y), kind=kCustom, \
calls=%all-reduce-scatter
  %fusion.3 = bf16[64,128]{1,0} fusion(%z), kind=kCustom, calls=%beside.1
  %fusion.4 = bf16[64,128]{1,0} fusion(%z), kind=kCustom, calls=%beside.2
  %splash_mha_fwd.2 = (f32[128,128]{1,0}, bf16[4,64,128]{2,1,0}) \
custom-call(%q, %k), custom_call_target="tpu_custom_call"
}

%rare (p: bf16[64,128]) -> bf16[64,128] {
  %sort.1 = bf16[64,128]{1,0} sort(%p), \
backend_config={"window_config":{"estimated_cycles":"700000"}}
}

%common (p: bf16[64,128]) -> bf16[64,128] {
  %copy.2 = bf16[64,128]{1,0} copy(%p), \
backend_config={"window_config":{"estimated_cycles":"7"}}
}

ENTRY %main (p: bf16[64,128]) -> bf16[64,128] {
  %while.1 = (s32[]{:T(128)}, bf16[1,64,128]{2,1,0}) while(%tuple), \
condition=%condition, body=%body, metadata={op_name="jit(step)/while"}
  %copy.1 = bf16[64,128]{1,0} copy(%p), \
backend_config={"window_config":{"estimated_cycles":"50"}}
  %conditional.1 = bf16[64,128]{1,0} conditional(%accepted, %p, %p), \
branch_computations={%rare, %common}
  %all-reduce.9 = (f32[8]{0}, f32[]{:T(128)}) all-reduce(%a, %b), \
channel_id=9, replica_groups=[1,8]<=[8], to_apply=%add
  %start = (bf16[16,128]{1,0}, bf16[64,128]{1,0}) all-gather-start(%c), \
channel_id=10, replica_groups={{0,1,2,3}}, dimensions={0}
}
"""


def program():
  return hlo.read(TEXT)


def test_a_loop_counts_as_often_as_it_runs():
  # Cycles within a fusion are part of the fusion's own; of two branches the
  # cheaper one counts.
  assert program().cycles == 80 * 1000 + 50 + 7
  assert program().repeated_cycles == 79 * 1000
  assert program().kernels == {'splash_mha_fwd': 80}
  assert program().unknown_loops == 0


def test_a_loop_of_unknown_length_counts_once_and_is_told():
  text = TEXT.replace('direction=LT', 'direction=NE')
  assert hlo.read(text).cycles == 1000 + 50 + 7
  assert hlo.read(text).unknown_loops == 1


def test_communication_has_kind_size_and_group():
  scatter, gather, reduce, started = program().collectives
  assert scatter == hlo.Collective('reduce-scatter', 64 * 128 * 2, 4, 80, False)
  # Two fusions carry one all-gather on beside what they compute.
  assert gather == hlo.Collective('all-gather', 64 * 128 * 2, 4, 80, True)
  assert reduce == hlo.Collective('all-reduce', 9 * 4, 8, 1, False)
  assert started == hlo.Collective('all-gather', 64 * 128 * 2, 4, 1, True)


def test_a_chip_takes_in_what_a_ring_brings():
  gather = hlo.Collective('all-gather', 1000, 4, 3, False)
  assert gather.received == 3 * 750
  # A sum is scattered, then gathered.
  assert hlo.Collective('all-reduce', 1000, 4, 3, False).received == 2 * 3 * 750
  shift = hlo.Collective('collective-permute', 1000, 2, 1, False)
  assert shift.received == 1000


def test_refuses_other_text():
  with pytest.raises(ValueError, match='no text of a compiled program'):
    hlo.read('HloModule nothing')
