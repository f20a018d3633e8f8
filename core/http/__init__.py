"""HTTP plumbing under the API client and the downloads: sessions, guarded connections, URLs, addresses."""
