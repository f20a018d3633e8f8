"""The protocols that the sandbox speaks beside the AI/ML API's: a room each, with the same bill, faults and pictures.

| base URL | protocol | room |
|---|---|---|
| `ORIGIN/openai/v1` | OpenAI's images | `openai` |
| `ORIGIN/gemini/v1beta` | Gemini's `generateContent` | `gemini` |
| `ORIGIN/queue` | job, status, result, as fal has them | `queue` |
"""

from __future__ import annotations
