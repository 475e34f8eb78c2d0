// A complete BERT of a few thousand weights, made by code and always the same: config, WordPiece tokenizer and
// safetensors, laid out so that transformers loads it by name. It has learnt nothing and knows no repo.

import { type Change, lfs } from './repos.ts'
import { Weights } from './safetensors.ts'

const HIDDEN = 16
const INTERMEDIATE = 32
const LAYERS = 2
const HEADS = 2
const POSITIONS = 64

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] as const
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'.split('')
const WORDS = ['the', 'hub', 'model', 'mirror', 'cache', 'hello', 'world', 'is', 'of', 'and', 'tiny']
const VOCABULARY = [
  ...SPECIAL,
  ...'.,!?\'"-:;()'.split(''),
  ...LETTERS,
  ...LETTERS.map((letter) => `##${letter}`),
  ...WORDS,
]

/** The files of the model, ready for `commit`. The weights are an LFS file; each `seed` makes other ones. */
export function tinyModelFiles(seed = 0x2545f491): Readonly<Record<string, Change>> {
  return {
    '.gitattributes': '*.safetensors filter=lfs diff=lfs merge=lfs -text\n',
    'README.md': README,
    'config.json': json(CONFIG),
    'model.safetensors': lfs(weights(seed)),
    'special_tokens_map.json': json(SPECIAL_TOKENS),
    'tokenizer.json': json(tokenizer()),
    'tokenizer_config.json': json(TOKENIZER_CONFIG),
    'vocab.txt': `${VOCABULARY.join('\n')}\n`,
  }
}

const README = `---
license: apache-2.0
library_name: transformers
tags:
- bert
---
# Tiny model

A BERT with random weights, small enough to download in no time.
`

const CONFIG = {
  architectures: ['BertModel'],
  attention_probs_dropout_prob: 0.1,
  hidden_act: 'gelu',
  hidden_dropout_prob: 0.1,
  hidden_size: HIDDEN,
  initializer_range: 0.02,
  intermediate_size: INTERMEDIATE,
  layer_norm_eps: 1e-12,
  max_position_embeddings: POSITIONS,
  model_type: 'bert',
  num_attention_heads: HEADS,
  num_hidden_layers: LAYERS,
  pad_token_id: 0,
  position_embedding_type: 'absolute',
  torch_dtype: 'float32',
  transformers_version: '4.57.0',
  type_vocab_size: 2,
  use_cache: true,
  vocab_size: VOCABULARY.length,
}

const SPECIAL_TOKENS = {
  cls_token: '[CLS]',
  mask_token: '[MASK]',
  pad_token: '[PAD]',
  sep_token: '[SEP]',
  unk_token: '[UNK]',
}

const ADDED_TOKEN = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }

const TOKENIZER_CONFIG = {
  added_tokens_decoder: Object.fromEntries(
    SPECIAL.map((content, id) => [String(id), { content, ...ADDED_TOKEN }]),
  ),
  clean_up_tokenization_spaces: true,
  do_lower_case: true,
  model_max_length: POSITIONS,
  strip_accents: null,
  tokenize_chinese_chars: true,
  tokenizer_class: 'BertTokenizer',
  ...SPECIAL_TOKENS,
}

function tokenizer(): unknown {
  const special = (id: string, typeId = 0) => ({ SpecialToken: { id, type_id: typeId } })
  const sequence = (id: 'A' | 'B', typeId: number) => ({ Sequence: { id, type_id: typeId } })
  const template = (id: '[CLS]' | '[SEP]') => ({ id, ids: [VOCABULARY.indexOf(id)], tokens: [id] })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, ...ADDED_TOKEN })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [special('[CLS]'), sequence('A', 0), special('[SEP]')],
      pair: [special('[CLS]'), sequence('A', 0), special('[SEP]'), sequence('B', 1), special('[SEP]', 1)],
      special_tokens: { '[CLS]': template('[CLS]'), '[SEP]': template('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(VOCABULARY.map((token, id) => [token, id])),
    },
  }
}

// The names and shapes that transformers' BertModel looks for.
function weights(seed: number): Buffer {
  const all = new Weights(seed)
  all.add('embeddings.word_embeddings.weight', [VOCABULARY.length, HIDDEN])
  all.add('embeddings.position_embeddings.weight', [POSITIONS, HIDDEN])
  all.add('embeddings.token_type_embeddings.weight', [2, HIDDEN])
  all.norm('embeddings.LayerNorm', HIDDEN)
  for (let index = 0; index < LAYERS; index += 1) {
    const layer = `encoder.layer.${index}`
    for (const part of ['query', 'key', 'value'])
      all.layer(`${layer}.attention.self.${part}`, [HIDDEN, HIDDEN])
    all.layer(`${layer}.attention.output.dense`, [HIDDEN, HIDDEN])
    all.norm(`${layer}.attention.output.LayerNorm`, HIDDEN)
    all.layer(`${layer}.intermediate.dense`, [INTERMEDIATE, HIDDEN])
    all.layer(`${layer}.output.dense`, [HIDDEN, INTERMEDIATE])
    all.norm(`${layer}.output.LayerNorm`, HIDDEN)
  }
  all.layer('pooler.dense', [HIDDEN, HIDDEN])
  return all.toFile()
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
