#compdef offboard

autoload -U is-at-least

_offboard() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_offboard_commands" \
"*::: :->offboard" \
&& ret=0
    case $state in
    (offboard)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:offboard-command-$line[1]:"
        case $line[1] in
            (run)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration, a JSON file; default\: the JSON in the variable OFFBOARD_CONFIG]:FILE:_files' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(disassociate)
_arguments "${_arguments_options[@]}" : \
'--from-file=[Read more names from a file or, with -, from standard input\: one per line, or separated by white space; or a CSV file with a column thingName; or the JSON output of aws greengrassv2 list-client-devices-associated-with-core-device]:FILE:_files' \
'--collect=[Time to collect the answers to --everywhere\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--reason=[A reason for people, kept with the request]:REASON:_default' \
'--expires-in=[Time until the entries that were not sent expire as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s token; a repeated command with the same token is the same request. Default\: a random token]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'(--core-device-thing-name --no-wait)--everywhere[Disassociate them from every core device that knows them, with a broadcast over the broker, and show what each core device answers. Needs acceptBroadcast in the agents'\'' configuration]' \
'--dry-run[Show what the agent would do, and change nothing]' \
'--force[Allow more than guard.maxFraction of the devices, and ask for no confirmation]' \
'--no-wait[Return when the request is accepted\: it is on disk then, and the agent will carry it out]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::entries -- Thing names:_default' \
&& ret=0
;;
(associate)
_arguments "${_arguments_options[@]}" : \
'--from-file=[Read more names from a file or, with -, from standard input\: one per line, or separated by white space; or a CSV file with a column thingName; or the JSON output of aws greengrassv2 list-client-devices-associated-with-core-device]:FILE:_files' \
'--reason=[A reason for people, kept with the request]:REASON:_default' \
'--expires-in=[Time until the entries that were not sent expire as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s token; a repeated command with the same token is the same request. Default\: a random token]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--dry-run[Show what the agent would do, and change nothing]' \
'--force[Allow more than guard.maxFraction of the devices, and ask for no confirmation]' \
'--no-wait[Return when the request is accepted\: it is on disk then, and the agent will carry it out]' \
'-h[Print help]' \
'--help[Print help]' \
'*::entries -- Thing names:_default' \
&& ret=0
;;
(disassociate-assets)
_arguments "${_arguments_options[@]}" : \
'--asset=[The parent asset, by id or externalId\:]:ASSET:_default' \
'--hierarchy=[The hierarchy of the parent that contains the child]:HIERARCHY:_default' \
'--child=[The child asset]:ASSET:_default' \
'--reason=[A reason for people, kept with the request]:REASON:_default' \
'--expires-in=[Time until the entries that were not sent expire as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s token; a repeated command with the same token is the same request. Default\: a random token]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--dry-run[Show what the agent would do, and change nothing]' \
'--force[Allow more than guard.maxFraction of the devices, and ask for no confirmation]' \
'--no-wait[Return when the request is accepted\: it is on disk then, and the agent will carry it out]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(disassociate-project-assets)
_arguments "${_arguments_options[@]}" : \
'--project=[The project of SiteWise Monitor]:PROJECT:_default' \
'--from-file=[Read more assets from a file or, with -, from standard input\: one per line, or separated by white space; or a CSV file with a column assetId]:FILE:_files' \
'--reason=[A reason for people, kept with the request]:REASON:_default' \
'--expires-in=[Time until the entries that were not sent expire as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s token; a repeated command with the same token is the same request. Default\: a random token]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--dry-run[Show what the agent would do, and change nothing]' \
'--force[Allow more than guard.maxFraction of the devices, and ask for no confirmation]' \
'--no-wait[Return when the request is accepted\: it is on disk then, and the agent will carry it out]' \
'-h[Print help]' \
'--help[Print help]' \
'*::assetIds -- Assets in the project:_default' \
&& ret=0
;;
(cancel)
_arguments "${_arguments_options[@]}" : \
'--client=[The client that owns the request; default\: yourself]:CLIENT:_default' \
'--via=[The transport of that client\: mqtt (the default), pubsub, iot-core]:TRANSPORT:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':token -- The request'\''s token:_default' \
&& ret=0
;;
(requests)
_arguments "${_arguments_options[@]}" : \
'--client=[The client whose requests are shown; default\: all clients, or yourself for one request]:CLIENT:_default' \
'--via=[The transport of that client\: mqtt (the default), pubsub, iot-core]:TRANSPORT:_default' \
'()--status=[Only requests of this status\: IN_PROGRESS, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED, CANCELED, TIMED_OUT]:STATUS:_default' \
'--limit=[Maximum number of requests, or of failed entries of one request]:N:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'(--limit)--all[Show all requests, or all failed entries of one request]' \
'-h[Print help]' \
'--help[Print help]' \
'::token -- One request, with its failed entries; without it all requests, newest first:_default' \
&& ret=0
;;
(devices)
_arguments "${_arguments_options[@]}" : \
'()--state=[Only devices of this state\: ASSOCIATED, ASSOCIATING, DISASSOCIATING, DISASSOCIATED]:STATE:_default' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--history[Include the device'\''s history\: requests, responses of the cloud, and what its lists showed]' \
'-h[Print help]' \
'--help[Print help]' \
'::thing -- One device; without it all devices, by name:_default' \
&& ret=0
;;
(sync)
_arguments "${_arguments_options[@]}" : \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--no-wait[Return when the request is accepted]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--metrics[Show counters and gauges, in the text format of Prometheus, or as JSON with --output json]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
'--config=[The agent'\''s configuration, a JSON file; default\: the variable OFFBOARD_CONFIG, then the configuration of the running agent]:FILE:_files' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(support-bundle)
_arguments "${_arguments_options[@]}" : \
'--file=[The archive to write; an existing file is not overwritten]:FILE:_files' \
'--config=[The agent'\''s configuration, a JSON file; default\: the variable OFFBOARD_CONFIG, then the configuration of the running agent]:FILE:_files' \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'--with-journal[Add copies of the journal and the registry\: all requests and devices with their history, tokens and reasons, also what was forgotten lately]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(watch)
_arguments "${_arguments_options[@]}" : \
'--data-dir=[The running agent'\''s data directory; default\: \$OFFBOARD_DATA_DIR, then Greengrass'\''s work directory of the component]:DIR:_files' \
'--mqtt-url=[Connect over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent receives the command; not with --everywhere]:THING:_default' \
'--client-id=[Your own name on the broker\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the client of the request]:THING:_default' \
'--ca-file=[The certificate authority of the broker, PEM; default\: the system'\''s certificate authorities]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[The key of your certificate, PEM]:FILE:_files' \
'--username=[User name on the broker; the password is read from \$OFFBOARD_MQTT_PASSWORD, which a list of processes does not show]:NAME:_default' \
'--topic-prefix=[The topicPrefix of the agent'\''s configuration]:PREFIX:_default' \
'--output=[Output format\: a table for people, or for programs one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds to wait for the agent'\''s answer (not\: for the end of the request)]:SECONDS:_default' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
":: :_offboard__subcmd__help_commands" \
"*::: :->help" \
&& ret=0

    case $state in
    (help)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:offboard-help-command-$line[1]:"
        case $line[1] in
            (run)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(disassociate)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(associate)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(disassociate-assets)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(disassociate-project-assets)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(cancel)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(requests)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(devices)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(sync)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(support-bundle)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(watch)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
}

(( $+functions[_offboard_commands] )) ||
_offboard_commands() {
    local commands; commands=(
'run:Run the agent until SIGTERM or SIGINT' \
'disassociate:Disassociate client devices from this core device.' \
'associate:Associate client devices with this core device' \
'disassociate-assets:Disassociate an asset of AWS IoT SiteWise from its parent' \
'disassociate-project-assets:Disassociate assets from a project of SiteWise Monitor' \
'cancel:Withdraw the entries of a request that were not sent yet' \
'requests:Show requests, or one request with its failed entries' \
'devices:Show the devices of the registry, or one device' \
'sync:Read the cloud'\''s list of devices now' \
'status:Show the agent'\''s status. Fails if the agent has a problem' \
'check:Check the requirements of the agent, one line each\: configuration, data directory, store, broker, credentials, cloud, clock' \
'support-bundle:Write an archive for support\: configuration without secrets, status, metrics, the latest requests, versions' \
'watch:Watch the running agent, on a terminal of 80x24 or more' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'offboard commands' commands "$@"
}
(( $+functions[_offboard__subcmd__associate_commands] )) ||
_offboard__subcmd__associate_commands() {
    local commands; commands=()
    _describe -t commands 'offboard associate commands' commands "$@"
}
(( $+functions[_offboard__subcmd__cancel_commands] )) ||
_offboard__subcmd__cancel_commands() {
    local commands; commands=()
    _describe -t commands 'offboard cancel commands' commands "$@"
}
(( $+functions[_offboard__subcmd__check_commands] )) ||
_offboard__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'offboard check commands' commands "$@"
}
(( $+functions[_offboard__subcmd__devices_commands] )) ||
_offboard__subcmd__devices_commands() {
    local commands; commands=()
    _describe -t commands 'offboard devices commands' commands "$@"
}
(( $+functions[_offboard__subcmd__disassociate_commands] )) ||
_offboard__subcmd__disassociate_commands() {
    local commands; commands=()
    _describe -t commands 'offboard disassociate commands' commands "$@"
}
(( $+functions[_offboard__subcmd__disassociate-assets_commands] )) ||
_offboard__subcmd__disassociate-assets_commands() {
    local commands; commands=()
    _describe -t commands 'offboard disassociate-assets commands' commands "$@"
}
(( $+functions[_offboard__subcmd__disassociate-project-assets_commands] )) ||
_offboard__subcmd__disassociate-project-assets_commands() {
    local commands; commands=()
    _describe -t commands 'offboard disassociate-project-assets commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help_commands] )) ||
_offboard__subcmd__help_commands() {
    local commands; commands=(
'run:Run the agent until SIGTERM or SIGINT' \
'disassociate:Disassociate client devices from this core device.' \
'associate:Associate client devices with this core device' \
'disassociate-assets:Disassociate an asset of AWS IoT SiteWise from its parent' \
'disassociate-project-assets:Disassociate assets from a project of SiteWise Monitor' \
'cancel:Withdraw the entries of a request that were not sent yet' \
'requests:Show requests, or one request with its failed entries' \
'devices:Show the devices of the registry, or one device' \
'sync:Read the cloud'\''s list of devices now' \
'status:Show the agent'\''s status. Fails if the agent has a problem' \
'check:Check the requirements of the agent, one line each\: configuration, data directory, store, broker, credentials, cloud, clock' \
'support-bundle:Write an archive for support\: configuration without secrets, status, metrics, the latest requests, versions' \
'watch:Watch the running agent, on a terminal of 80x24 or more' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'offboard help commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__associate_commands] )) ||
_offboard__subcmd__help__subcmd__associate_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help associate commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__cancel_commands] )) ||
_offboard__subcmd__help__subcmd__cancel_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help cancel commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__check_commands] )) ||
_offboard__subcmd__help__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help check commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__devices_commands] )) ||
_offboard__subcmd__help__subcmd__devices_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help devices commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__disassociate_commands] )) ||
_offboard__subcmd__help__subcmd__disassociate_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help disassociate commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__disassociate-assets_commands] )) ||
_offboard__subcmd__help__subcmd__disassociate-assets_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help disassociate-assets commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__disassociate-project-assets_commands] )) ||
_offboard__subcmd__help__subcmd__disassociate-project-assets_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help disassociate-project-assets commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__help_commands] )) ||
_offboard__subcmd__help__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help help commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__requests_commands] )) ||
_offboard__subcmd__help__subcmd__requests_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help requests commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__run_commands] )) ||
_offboard__subcmd__help__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help run commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__status_commands] )) ||
_offboard__subcmd__help__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help status commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__support-bundle_commands] )) ||
_offboard__subcmd__help__subcmd__support-bundle_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help support-bundle commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__sync_commands] )) ||
_offboard__subcmd__help__subcmd__sync_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help sync commands' commands "$@"
}
(( $+functions[_offboard__subcmd__help__subcmd__watch_commands] )) ||
_offboard__subcmd__help__subcmd__watch_commands() {
    local commands; commands=()
    _describe -t commands 'offboard help watch commands' commands "$@"
}
(( $+functions[_offboard__subcmd__requests_commands] )) ||
_offboard__subcmd__requests_commands() {
    local commands; commands=()
    _describe -t commands 'offboard requests commands' commands "$@"
}
(( $+functions[_offboard__subcmd__run_commands] )) ||
_offboard__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'offboard run commands' commands "$@"
}
(( $+functions[_offboard__subcmd__status_commands] )) ||
_offboard__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'offboard status commands' commands "$@"
}
(( $+functions[_offboard__subcmd__support-bundle_commands] )) ||
_offboard__subcmd__support-bundle_commands() {
    local commands; commands=()
    _describe -t commands 'offboard support-bundle commands' commands "$@"
}
(( $+functions[_offboard__subcmd__sync_commands] )) ||
_offboard__subcmd__sync_commands() {
    local commands; commands=()
    _describe -t commands 'offboard sync commands' commands "$@"
}
(( $+functions[_offboard__subcmd__watch_commands] )) ||
_offboard__subcmd__watch_commands() {
    local commands; commands=()
    _describe -t commands 'offboard watch commands' commands "$@"
}

if [ "$funcstack[1]" = "_offboard" ]; then
    _offboard "$@"
else
    compdef _offboard offboard
fi
