"""What can be wrong with prepared shards: small pure checks, each measuring every sample against a stated limit."""
