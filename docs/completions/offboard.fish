# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_offboard_global_optspecs
    string join \n h/help V/version
end

function __fish_offboard_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_offboard_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_offboard_using_subcommand
    set -l cmd (__fish_offboard_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c offboard -n "__fish_offboard_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c offboard -n "__fish_offboard_needs_command" -s V -l version -d 'Print version'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "run" -d 'Run the agent until SIGTERM or SIGINT'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "disassociate" -d 'Disassociate client devices from this core device.'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "associate" -d 'Associate client devices with this core device'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "disassociate-assets" -d 'Disassociate an asset of AWS IoT SiteWise from its parent'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "disassociate-project-assets" -d 'Disassociate assets from a project of SiteWise Monitor'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "cancel" -d 'Withdraw the entries of a request that were not sent yet'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "requests" -d 'Show requests, or one request with its failed entries'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "devices" -d 'Show the devices of the registry, or one device'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "sync" -d 'Read the cloud\'s list of devices now'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "status" -d 'Show the agent\'s status. Fails if the agent has a problem'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "check" -d 'Check the requirements of the agent, one line each: configuration, data directory, store, broker, credentials, cloud, clock'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "support-bundle" -d 'Write an archive for support: configuration without secrets, status, metrics, the latest requests, versions'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "watch" -d 'Watch the running agent, on a terminal of 80x24 or more'
complete -c offboard -n "__fish_offboard_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c offboard -n "__fish_offboard_using_subcommand run" -l config -d 'The configuration, a JSON file; default: the JSON in the variable OFFBOARD_CONFIG' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand run" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l from-file -d 'Read more names from a file or, with -, from standard input: one per line, or separated by white space; or a CSV file with a column thingName; or the JSON output of aws greengrassv2 list-client-devices-associated-with-core-device' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l collect -d 'Time to collect the answers to --everywhere: seconds, or 30s, 15m, 12h, 7d' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l reason -d 'A reason for people, kept with the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l expires-in -d 'Time until the entries that were not sent expire as TimedOut: seconds, or 30s, 15m, 12h, 7d' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l token -d 'The request\'s token; a repeated command with the same token is the same request. Default: a random token' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l everywhere -d 'Disassociate them from every core device that knows them, with a broadcast over the broker, and show what each core device answers. Needs acceptBroadcast in the agents\' configuration'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l dry-run -d 'Show what the agent would do, and change nothing'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l force -d 'Allow more than guard.maxFraction of the devices, and ask for no confirmation'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -l no-wait -d 'Return when the request is accepted: it is on disk then, and the agent will carry it out'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l from-file -d 'Read more names from a file or, with -, from standard input: one per line, or separated by white space; or a CSV file with a column thingName; or the JSON output of aws greengrassv2 list-client-devices-associated-with-core-device' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l reason -d 'A reason for people, kept with the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l expires-in -d 'Time until the entries that were not sent expire as TimedOut: seconds, or 30s, 15m, 12h, 7d' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l token -d 'The request\'s token; a repeated command with the same token is the same request. Default: a random token' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l dry-run -d 'Show what the agent would do, and change nothing'
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l force -d 'Allow more than guard.maxFraction of the devices, and ask for no confirmation'
complete -c offboard -n "__fish_offboard_using_subcommand associate" -l no-wait -d 'Return when the request is accepted: it is on disk then, and the agent will carry it out'
complete -c offboard -n "__fish_offboard_using_subcommand associate" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l asset -d 'The parent asset, by id or externalId:' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l hierarchy -d 'The hierarchy of the parent that contains the child' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l child -d 'The child asset' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l reason -d 'A reason for people, kept with the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l expires-in -d 'Time until the entries that were not sent expire as TimedOut: seconds, or 30s, 15m, 12h, 7d' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l token -d 'The request\'s token; a repeated command with the same token is the same request. Default: a random token' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l dry-run -d 'Show what the agent would do, and change nothing'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l force -d 'Allow more than guard.maxFraction of the devices, and ask for no confirmation'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -l no-wait -d 'Return when the request is accepted: it is on disk then, and the agent will carry it out'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-assets" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l project -d 'The project of SiteWise Monitor' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l from-file -d 'Read more assets from a file or, with -, from standard input: one per line, or separated by white space; or a CSV file with a column assetId' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l reason -d 'A reason for people, kept with the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l expires-in -d 'Time until the entries that were not sent expire as TimedOut: seconds, or 30s, 15m, 12h, 7d' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l token -d 'The request\'s token; a repeated command with the same token is the same request. Default: a random token' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l dry-run -d 'Show what the agent would do, and change nothing'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l force -d 'Allow more than guard.maxFraction of the devices, and ask for no confirmation'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -l no-wait -d 'Return when the request is accepted: it is on disk then, and the agent will carry it out'
complete -c offboard -n "__fish_offboard_using_subcommand disassociate-project-assets" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l client -d 'The client that owns the request; default: yourself' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l via -d 'The transport of that client: mqtt (the default), pubsub, iot-core' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand cancel" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l client -d 'The client whose requests are shown; default: all clients, or yourself for one request' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l via -d 'The transport of that client: mqtt (the default), pubsub, iot-core' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l status -d 'Only requests of this status: IN_PROGRESS, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED, CANCELED, TIMED_OUT' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l limit -d 'Maximum number of requests, or of failed entries of one request' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand requests" -l all -d 'Show all requests, or all failed entries of one request'
complete -c offboard -n "__fish_offboard_using_subcommand requests" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l state -d 'Only devices of this state: ASSOCIATED, ASSOCIATING, DISASSOCIATING, DISASSOCIATED' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand devices" -l history -d 'Include the device\'s history: requests, responses of the cloud, and what its lists showed'
complete -c offboard -n "__fish_offboard_using_subcommand devices" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand sync" -l no-wait -d 'Return when the request is accepted'
complete -c offboard -n "__fish_offboard_using_subcommand sync" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand status" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand status" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand status" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand status" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand status" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand status" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand status" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand status" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand status" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand status" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand status" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand status" -l metrics -d 'Show counters and gauges, in the text format of Prometheus, or as JSON with --output json'
complete -c offboard -n "__fish_offboard_using_subcommand status" -s h -l help -d 'Print help'
complete -c offboard -n "__fish_offboard_using_subcommand check" -l config -d 'The agent\'s configuration, a JSON file; default: the variable OFFBOARD_CONFIG, then the configuration of the running agent' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand check" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand check" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand check" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand check" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand check" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand check" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand check" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand check" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand check" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand check" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand check" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l file -d 'The archive to write; an existing file is not overwritten' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l config -d 'The agent\'s configuration, a JSON file; default: the variable OFFBOARD_CONFIG, then the configuration of the running agent' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -l with-journal -d 'Add copies of the journal and the registry: all requests and devices with their history, tokens and reasons, also what was forgotten lately'
complete -c offboard -n "__fish_offboard_using_subcommand support-bundle" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l data-dir -d 'The running agent\'s data directory; default: $OFFBOARD_DATA_DIR, then Greengrass\'s work directory of the component' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l mqtt-url -d 'Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]' -r
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l core-device-thing-name -d 'The core device whose agent receives the command; not with --everywhere' -r
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l client-id -d 'Your own name on the broker: your thing name, or on Mosquitto your user name or your certificate\'s common name. The agent records it as the client of the request' -r
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l ca-file -d 'The certificate authority of the broker, PEM; default: the system\'s certificate authorities' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l cert-file -d 'Your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l key-file -d 'The key of your certificate, PEM' -r -F
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l username -d 'User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of processes does not show' -r
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l topic-prefix -d 'The topicPrefix of the agent\'s configuration' -r
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l output -d 'Output format: a table for people, or for programs one JSON document, as it crosses the broker' -r -f -a "table\t''
json\t''"
complete -c offboard -n "__fish_offboard_using_subcommand watch" -l timeout -d 'Seconds to wait for the agent\'s answer (not: for the end of the request)' -r
complete -c offboard -n "__fish_offboard_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "run" -d 'Run the agent until SIGTERM or SIGINT'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "disassociate" -d 'Disassociate client devices from this core device.'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "associate" -d 'Associate client devices with this core device'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "disassociate-assets" -d 'Disassociate an asset of AWS IoT SiteWise from its parent'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "disassociate-project-assets" -d 'Disassociate assets from a project of SiteWise Monitor'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "cancel" -d 'Withdraw the entries of a request that were not sent yet'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "requests" -d 'Show requests, or one request with its failed entries'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "devices" -d 'Show the devices of the registry, or one device'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "sync" -d 'Read the cloud\'s list of devices now'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "status" -d 'Show the agent\'s status. Fails if the agent has a problem'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "check" -d 'Check the requirements of the agent, one line each: configuration, data directory, store, broker, credentials, cloud, clock'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "support-bundle" -d 'Write an archive for support: configuration without secrets, status, metrics, the latest requests, versions'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "watch" -d 'Watch the running agent, on a terminal of 80x24 or more'
complete -c offboard -n "__fish_offboard_using_subcommand help; and not __fish_seen_subcommand_from run disassociate associate disassociate-assets disassociate-project-assets cancel requests devices sync status check support-bundle watch help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
