"""A model behind an OpenAI-compatible server. No torch.

`engine` is the contract. `protocol` builds requests and reads replies, `connection` and `endpoints`
send them, `retrying` decides what is sent again, `usage` counts, `api_key` keeps the key out of
every text, `data_urls` packs media.
"""
