"""From the updates of a round to one: means, robust rules, whose word weighs what, and the server's step."""
