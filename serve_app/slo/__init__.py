"""Service level objectives of a deployment: judged at each request's end, summed, told."""
