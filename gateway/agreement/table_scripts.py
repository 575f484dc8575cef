"""What a control plane and gateways on other machines tell each other through Redis: one step each.

The table is the snapshot's line as it goes over the control socket; who holds an earlier life of the control
plane cannot write it any more.
"""

from __future__ import annotations

from gateway.agreement.link import RedisLink, Script

TABLE = ("table", "line")
VERSION = ("table", "version")
LIFE = ("table", "life")
CONTROL = ("table", "control")
"""There as long as a control plane writes."""
NEWS = "table:news"
REPORTS = ("reports",)
REPORTING = ("reporting",)
DEMAND = ("demand",)

WRITTEN, MISSING, OUTLIVED = 1, 0, -1

# An earlier life leaves no sign of life (KEYS[4]). To ask leaves one, as to write does.
WRITE = Script("""
if tonumber(ARGV[1]) < tonumber(redis.call('GET', KEYS[3]) or '0') then return -1 end
redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[5])
if ARGV[3] == '' then
  if redis.call('GET', KEYS[2]) == ARGV[2] then return 1 end
  return 0
end
redis.call('SET', KEYS[3], ARGV[1])
redis.call('SET', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
""")
"""Life, version, line or empty to ask whether it is there, channel, milliseconds that it lives.

Gives WRITTEN, MISSING where the line must come too, OUTLIVED where a later life has written.
"""

# By the server's clock, since those of gateways may differ.
REPORT = Script("""
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], redis.call('TIME')[1] + ARGV[3], ARGV[1])
return 1
""")
"""A gateway's name, its report, seconds that it counts."""

# In one step: no report and no wish for an engine comes between what is read and what is forgotten.
COLLECT = Script("""
local now = redis.call('TIME')[1]
local function forget(first, last)
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], first, last)) do
    redis.call('ZREM', KEYS[2], one)
    redis.call('HDEL', KEYS[1], one)
  end
end
forget('-inf', now)
forget(string.format('(%d', now + ARGV[1] + 1), '+inf')  -- by a clock that was set back since
local demand = redis.call('GET', KEYS[3])
redis.call('DEL', KEYS[3])
return {redis.call('HVALS', KEYS[1]), demand or ''}
""")
"""Seconds that a report counts. Gives the reports that do, and whether somebody waits for an engine."""


def table_keys(link: RedisLink) -> list[str]:
    """The keys that the script WRITE is given, in its order."""
    return [link.key(*one) for one in (TABLE, VERSION, LIFE, CONTROL)]


def report_keys(link: RedisLink) -> list[str]:
    """The keys that the scripts REPORT and COLLECT are given, in their order."""
    return [link.key(*one) for one in (REPORTS, REPORTING, DEMAND)]
