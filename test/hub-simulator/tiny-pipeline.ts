// A complete pipeline of diffusers with a few hundred weights, made by code and always the same for a seed: a denoiser of
// images (UNet2DModel) and its schedule. It has learnt nothing and knows no repo.

import { type Change, lfs } from './repos.ts'
import { Weights } from './safetensors.ts'

const CHANNELS = 4
const GROUPS = 2
/** What diffusers makes of the channels for the embedding of a time step. */
const TIME = CHANNELS * 4
const COLOURS = 3

/** The files of the pipeline, ready for `commit`. The weights are an LFS file; each `seed` makes other ones. */
export function tinyPipelineFiles(seed: number): Readonly<Record<string, Change>> {
  return {
    '.gitattributes': '*.safetensors filter=lfs diff=lfs merge=lfs -text\n',
    'README.md': '---\nlibrary_name: diffusers\n---\n# Tiny pipeline\n',
    'model_index.json': json(INDEX),
    'scheduler/scheduler_config.json': json(SCHEDULE),
    'unet/config.json': json(UNET),
    'unet/diffusion_pytorch_model.safetensors': lfs(weights(seed)),
  }
}

const INDEX = {
  _class_name: 'DDPMPipeline',
  _diffusers_version: '0.30.3',
  scheduler: ['diffusers', 'DDPMScheduler'],
  unet: ['diffusers', 'UNet2DModel'],
}

const SCHEDULE = {
  _class_name: 'DDPMScheduler',
  _diffusers_version: '0.30.3',
  beta_end: 0.02,
  beta_schedule: 'linear',
  beta_start: 0.0001,
  clip_sample: true,
  num_train_timesteps: 10,
  prediction_type: 'epsilon',
}

const UNET = {
  _class_name: 'UNet2DModel',
  _diffusers_version: '0.30.3',
  act_fn: 'silu',
  add_attention: false,
  block_out_channels: [CHANNELS],
  down_block_types: ['DownBlock2D'],
  in_channels: COLOURS,
  layers_per_block: 1,
  norm_num_groups: GROUPS,
  out_channels: COLOURS,
  sample_size: 8,
  up_block_types: ['UpBlock2D'],
}

// The names and shapes that UNet2DModel looks for.
function weights(seed: number): Buffer {
  const all = new Weights(seed)
  const convolution = (name: string, outputs: number, inputs: number) =>
    all.layer(name, [outputs, inputs, 3, 3])
  const block = (name: string, inputs = CHANNELS) => {
    all.norm(`${name}.norm1`, inputs)
    convolution(`${name}.conv1`, CHANNELS, inputs)
    all.layer(`${name}.time_emb_proj`, [CHANNELS, TIME])
    all.norm(`${name}.norm2`, CHANNELS)
    convolution(`${name}.conv2`, CHANNELS, CHANNELS)
    if (inputs !== CHANNELS) all.layer(`${name}.conv_shortcut`, [CHANNELS, inputs, 1, 1])
  }
  convolution('conv_in', CHANNELS, COLOURS)
  all.layer('time_embedding.linear_1', [TIME, CHANNELS])
  all.layer('time_embedding.linear_2', [TIME, TIME])
  block('down_blocks.0.resnets.0')
  block('mid_block.resnets.0')
  block('mid_block.resnets.1')
  // On the way up a block also reads what the way down has left.
  block('up_blocks.0.resnets.0', 2 * CHANNELS)
  block('up_blocks.0.resnets.1', 2 * CHANNELS)
  all.norm('conv_norm_out', CHANNELS)
  convolution('conv_out', COLOURS, CHANNELS)
  return all.toFile()
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
