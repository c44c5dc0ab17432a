"""The decoder: parameters held by Flax NNX, computed by plain functions.

`Decoder` only declares parameters, their initialisers and logical axes; the
functions below it take them as a plain dict, so they go through `jax.jit`,
`jax.grad` and a checkpoint as any pytree does. All layers are stacked on a
leading `layers` axis and run under `jax.lax.scan`; `unstack_layers` turns them
into a tuple for decoding on a CPU.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from consensus_jax.model.attention import (
  KeyValues,
  Prefix,
  attend,
  rope_tables,
  rotate,
)
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import DEFAULT, Execution
from consensus_jax.model.masks import Segments
from consensus_jax.model.products import dense, look_up
from consensus_jax.partitioning import constrain, named_sharding

Params = dict[str, Any]  # name -> array, or name -> Params

# Sharding is decided where parameters are placed, not inside constructors.
nnx.use_eager_sharding(False)


class Decoder(nnx.Module):
  """Parameters of a decoder. Weights are stored output axes first."""

  def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
    c = config
    self.embedding = nnx.Param(
      nnx.initializers.normal(0.02)(
        rngs.params(), (c.vocab_size, c.embed_dim), jnp.float32
      ),
      out_sharding=('vocab', 'embed'),
    )
    self.layers = Layers(c, rngs)
    self.final_norm = nnx.Param(
      jnp.ones((c.embed_dim,)), out_sharding=('embed',)
    )
    if not c.tied_embeddings:
      self.lm_head = nnx.Param(
        nnx.initializers.normal(0.02)(
          rngs.params(), (c.vocab_size, c.embed_dim), jnp.float32
        ),
        out_sharding=('vocab', 'embed'),
      )
    if c.reward_head:
      # Near zero, so that an untrained reward model starts indifferent.
      self.reward_head = nnx.Param(
        nnx.initializers.normal(1 / (c.embed_dim + 1))(
          rngs.params(), (c.embed_dim,), jnp.float32
        ),
        out_sharding=('embed',),
      )


class Layers(nnx.Module):
  """Parameters of all layers, stacked on a leading `layers` axis."""

  def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
    c, n = config, config.num_layers

    def dense(axes: dict[str, int], fan_in: int):
      init = jax.nn.initializers.truncated_normal(fan_in**-0.5)
      shape = (n, *axes.values())
      return nnx.Param(
        init(rngs.params(), shape, jnp.float32), out_sharding=('layers', *axes)
      )

    def constant(value: float, axes: dict[str, int]):
      return nnx.Param(
        # A dtype given, or the first training step would compile again.
        jnp.full((n, *axes.values()), value, jnp.float32),
        out_sharding=('layers', *axes),
      )

    embed, mlp = {'embed': c.embed_dim}, {'mlp': c.mlp_dim}
    head_dim = {'head_dim': c.head_dim}
    heads = {'heads': c.num_heads, **head_dim}
    kv_heads = {'kv_heads': c.num_kv_heads, **head_dim}
    self.attention_norm = constant(1.0, embed)
    self.query = dense(heads | embed, c.embed_dim)
    self.key = dense(kv_heads | embed, c.embed_dim)
    self.value = dense(kv_heads | embed, c.embed_dim)
    self.attention_output = dense(embed | heads, c.num_heads * c.head_dim)
    if c.qkv_bias:
      self.query_bias = constant(0.0, heads)
      self.key_bias = constant(0.0, kv_heads)
      self.value_bias = constant(0.0, kv_heads)
    if c.qk_norm:
      self.query_norm = constant(1.0, head_dim)
      self.key_norm = constant(1.0, head_dim)
    self.mlp_norm = constant(1.0, embed)
    if c.gated_mlp:
      self.gate = dense(mlp | embed, c.embed_dim)
    self.up = dense(mlp | embed, c.embed_dim)
    self.down = dense(embed | mlp, c.mlp_dim)


def init_params(config: ModelConfig, key: PRNGKeyArray) -> Params:
  """Random float32 parameters. Pure: jit it with `out_shardings` to place."""
  return nnx.to_pure_dict(nnx.state(Decoder(config, nnx.Rngs(params=key))))


def param_axes(config: ModelConfig) -> Params:
  """The logical axis names of every parameter, in the tree of `Params`."""
  state = nnx.state(nnx.eval_shape(lambda: Decoder(config, nnx.Rngs(params=0))))
  return nnx.to_pure_dict(
    jax.tree.map(
      lambda param: param.get_metadata('out_sharding'),
      state,
      is_leaf=lambda x: isinstance(x, nnx.Variable),
    )
  )


def abstract_params(config: ModelConfig, dtype: jnp.dtype) -> Params:
  """Shapes and dtypes of the parameters; nothing is allocated.

  Matrices have `dtype`; norms, biases and the reward head stay float32.
  """

  def one(path, leaf):
    narrow = path[-1].key in MATRICES
    return jax.ShapeDtypeStruct(leaf.shape, dtype if narrow else jnp.float32)

  shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
  return jax.tree_util.tree_map_with_path(one, shapes)


# Parameters that a compute dtype applies to.
MATRICES = frozenset(
  (
    'embedding',
    'lm_head',
    'query',
    'key',
    'value',
    'attention_output',
    'gate',
    'up',
    'down',
  )
)


def cast_matrices(params: Params, dtype: jnp.dtype) -> Params:
  """The parameters with their matrices in `dtype`, for products in it.

  Differentiable: a gradient reaches the masters in the masters' dtype. Cast
  before the forward pass, so that a mesh gathers the narrow form.
  """

  def one(path, leaf):
    return leaf.astype(dtype) if path[-1].key in MATRICES else leaf

  return jax.tree_util.tree_map_with_path(one, params)


def param_shardings(config: ModelConfig, mesh: jax.sharding.Mesh) -> Params:
  """Where each parameter lives on the mesh."""
  return jax.tree.map(
    lambda leaf, axes: named_sharding(mesh, axes, leaf.shape),
    abstract_params(config, jnp.dtype('float32')),
    param_axes(config),
  )


def unstack_layers(params: Params) -> Params:
  """`layers` as a tuple, one dict a layer, instead of stacked arrays.

  XLA on a CPU copies each layer's slice of a stacked weight before it can
  multiply with it, which makes a decoding step several times slower.
  """
  return {**params, 'layers': unstack(params['layers'])}


def unstack(layers: Params) -> tuple[Params, ...]:
  """Stacked layers as a tuple of them."""
  leaves, structure = jax.tree.flatten(layers)
  depth = len(leaves[0])
  return tuple(
    jax.tree.unflatten(structure, [leaf[i] for leaf in leaves])
    for i in range(depth)
  )


def hidden(
  params: Params,
  config: ModelConfig,
  tokens: Int[Array, 'rows length'],
  positions: Int[Array, '#rows length'],
  mask: Bool[Array, '#rows #length keys'] | Segments,
  *,
  prefix: Any = None,
  prefix_mask: Bool[Array, 'groups prefix_length'] | None = None,
  cache: Any = None,
  cache_index: Int[Array, ''] | int = 0,
  activations: Float[Array, 'rows length embed'] | None = None,
  execution: Execution = DEFAULT,
) -> tuple[Float[Array, 'rows length embed'], Any]:
  """The normalised last hidden states, and the keys and values they used.

  Without `params['final_norm']` the states are not normalised: activations for
  the layers that come next.

  Keys and values of all layers come and go in the form of
  `params['layers']`: one stacked `KeyValues`, or a tuple of them.

  Args:
    params: the parameters; matrix products take their inputs in its dtype.
    config: the model.
    tokens: token ids; one outside the vocabulary counts as its last token.
    positions: the tokens' positions, a prefix counted in.
    mask: True where a token may see an own key; or the sequences that share a
      row, where there is neither prefix nor cache.
    prefix: keys and values that the rows of a group share, if any.
    prefix_mask: False where the prefix is padding.
    cache: own keys and values so far; the new ones are written into it at
      `cache_index`. Without it the rows' own keys are the new ones.
    cache_index: where in the cache the first new token goes.
    activations: what the first of `params['layers']` is given instead of the
      tokens' embeddings; those of layers that were left out before it.
    execution: how it is carried out.
  """
  if activations is None:
    x = look_up(params['embedding'], tokens).astype(execution.dtype)
  else:
    x = activations.astype(execution.dtype)
  # First as the table lies, then by rows: one exchange of activations. In one
  # go XLA would hold every row on every device.
  x = constrain(x, 'replica', 'length', 'embed')
  x = constrain(x, 'batch', 'length', None)
  sin, cos = rope_tables(positions, config)

  def one_layer(x, scanned):
    layer, ahead, own = scanned
    h = _rms_norm(x, layer['attention_norm'], config)
    query, new = _project(layer, config, h, sin, cos, execution)
    own = new if own is None else _write(own, new, cache_index)
    shared = None
    if ahead is not None:
      assert prefix_mask is not None, 'a prefix comes with its mask'
      shared = Prefix(ahead, prefix_mask)
    h = attend(query, own, mask, shared, kernel=execution.attention)
    h = constrain(h, 'batch', 'length', 'heads', 'head_dim')
    h = dense(h, layer['attention_output'], execution.dtype, inputs=2)
    x = x + execution.named(h, 'attention_output')
    x = constrain(x, 'batch', 'length', None)
    h = _rms_norm(x, layer['mlp_norm'], config)
    x = x + _mlp(layer, config, h, execution)
    return constrain(x, 'batch', 'length', None), own

  layers = (params['layers'], prefix, cache)
  x, own = _over_layers(one_layer, x, layers, execution)
  # Without a norm, what a next layer would be given.
  if 'final_norm' in params:
    x = _rms_norm(x, params['final_norm'], config)
  return x, own


def logits(
  params: Params, x: Float[Array, 'rows length embed']
) -> Float[Array, 'rows length vocab']:
  """Unnormalised log-probabilities of the next token, float32."""
  head = params['lm_head'] if 'lm_head' in params else params['embedding']
  return constrain(dense(x, head, DEFAULT.dtype), 'batch', 'length', 'vocab')


def causal_mask(length: int) -> Bool[Array, '1 length length']:
  """True where a token may see another one or itself."""
  return jnp.tril(jnp.ones((1, length, length), bool))


def _over_layers(body, x, layers, execution):
  stacked = not isinstance(layers[0], tuple)
  looped = stacked and not execution.unrolled
  body = execution.rematerialised(body, in_scan=looped)
  if stacked:
    return jax.lax.scan(body, x, layers, unroll=not looped)
  body = jax.jit(body)  # traced for the first layer only
  outputs = []
  for i in range(len(layers[0])):
    x, output = body(x, [each and each[i] for each in layers])
    outputs.append(output)
  return x, tuple(outputs)


def _project(layer, config, h, sin, cos, execution):
  """Rotated queries, and keys and values as a cache holds them."""
  query = dense(h, layer['query'], execution.dtype)
  key = dense(h, layer['key'], execution.dtype)
  value = dense(h, layer['value'], execution.dtype)
  if config.qkv_bias:
    query += layer['query_bias']
    key += layer['key_bias']
    value += layer['value_bias']
  if config.qk_norm:
    query = _rms_norm(query, layer['query_norm'], config)
    key = _rms_norm(key, layer['key_norm'], config)
  dtype = layer['key'].dtype
  # As attention takes it: kept for the backward pass at half the memory.
  query = rotate(query, sin, cos).astype(dtype)
  query = execution.named(query, 'query')
  key = rotate(key, sin, cos).transpose(2, 0, 1, 3).astype(dtype)
  value = value.transpose(2, 0, 1, 3).astype(dtype)
  return query, KeyValues(
    execution.named(key, 'key'), execution.named(value, 'value')
  )


def _write(cache, new, index):
  return jax.tree.map(
    lambda old, x: jax.lax.dynamic_update_slice_in_dim(old, x, index, axis=2),
    cache,
    new,
  )


def _mlp(layer, config, h, execution):
  activation = jax.nn.silu if config.activation == 'silu' else jax.nn.gelu
  up = execution.named(dense(h, layer['up'], execution.dtype), 'up')
  if config.gated_mlp:
    gate = execution.named(dense(h, layer['gate'], execution.dtype), 'gate')
    up *= activation(gate)
  else:
    up = activation(up)
  up = constrain(up, 'batch', 'length', 'mlp')
  return execution.named(dense(up, layer['down'], execution.dtype), 'down')


def _rms_norm(x, scale, config):
  x = x.astype(jnp.float32)
  mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(mean_square + config.norm_epsilon) * scale
