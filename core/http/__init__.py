"""HTTP plumbing under the API client and the downloads: exchanges, guarded connections, URLs, addresses."""
