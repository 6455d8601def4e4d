# Lets the agent of the core device MyCore command Mosquitto's dynamic-security plugin. Run this
# once with `sh`, as the administrator of the plugin: ~/.config/mosquitto_ctrl holds the options
# (-h, -p, --cafile, -u, -P), one on each line. AGENT_PASSWORD is the agent's mqtt.password.
set -eu
dynsec() { mosquitto_ctrl dynsec "$@"; }

# What the agent needs without local access, too.
dynsec createRole offboard-agent
for topic in results/# devices/+ status metrics; do
    dynsec addRoleACL offboard-agent publishClientSend "offboard/MyCore/$topic" allow
done
dynsec addRoleACL offboard-agent subscribePattern 'offboard/MyCore/commands/+/+' allow

# The right to command the plugin. It cannot be limited to single commands (SECURITY.md), so that
# it is a role of its own.
dynsec createRole offboard-local-access
dynsec addRoleACL offboard-local-access publishClientSend '$CONTROL/dynamic-security/v1' allow
dynsec addRoleACL offboard-local-access publishClientReceive '$CONTROL/dynamic-security/v1/response' allow
dynsec addRoleACL offboard-local-access subscribePattern '$CONTROL/dynamic-security/v1/response' allow

dynsec createClient MyCore-offboard -p "$AGENT_PASSWORD"
dynsec addClientRole MyCore-offboard offboard-agent
dynsec addClientRole MyCore-offboard offboard-local-access
