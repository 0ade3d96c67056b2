"""A slow closed loop of two models that take turns, from the definition: who has read which token."""

from support.reference_loop import Loop, Server
from svsim.latency.shape import Role


def server_of(large, catch_up):
    """large: who is at work at every row of the trace, as a list; catch_up as the method spells it."""
    server = Server(0, lambda step: [])
    server.large, server.catch_up = large, catch_up
    return server


class SwitchingLoop(Loop):
    """Nothing is drafted; every step one pass of each model over the sequences where it is at work."""

    def prefill_s(self, requests):
        tokens = sum(int(self.trace.num_prompt_tokens[r]) for r in requests)
        passes = sum(self.price(role, len(requests), tokens, 0) for role in (Role.TARGET, Role.DRAFT))
        return passes + self.latency.overhead_per_step_s

    def unread(self, s, is_large):
        """Tokens that a model reads at the sequence's row: the last one, and those the other wrote since."""
        if self.server.catch_up != "prefill":
            return 1
        begin, row = int(self.trace.first_position[s.request]), s.position
        tokens = 1
        while row - 1 >= begin and self.server.large[row - 1] != is_large:
            tokens, row = tokens + 1, row - 1
        return tokens

    def turn_s(self, role, is_large):
        both = self.server.catch_up == "both"
        mine = [s for s in self.slots if both or self.server.large[s.position] == is_large]
        if not mine:
            return 0.0
        tokens = [self.unread(s, is_large) for s in mine]
        kv = sum(s.context - (unread - 1) for s, unread in zip(mine, tokens, strict=True))
        return self.price(role, len(mine), sum(tokens), kv)

    def step(self):
        overhead_s = self.host[0] + len(self.slots) * self.host[1]
        small_s, large_s = self.turn_s(Role.DRAFT, False), self.turn_s(Role.TARGET, True)
        nothing = [0] * len(self.slots)
        self.move(nothing, nothing, (overhead_s, small_s, 0.0, large_s, 0.0))
