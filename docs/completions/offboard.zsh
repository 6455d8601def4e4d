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
'--config=[The configuration, a JSON file; without it the variable OFFBOARD_CONFIG holds the JSON itself]:FILE:_files' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(disassociate)
_arguments "${_arguments_options[@]}" : \
'--from-file=[More of them from a file or, with -, from standard input\: one a line, or separated by white space; or a CSV file with a column thingName; or the JSON output of aws greengrassv2 list-client-devices-associated-with-core-device]:FILE:_files' \
'--reason=[Kept with the request, for people]:REASON:_default' \
'--expires-in=[What is not sent by then ends as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s name; the same one again is the same request. Without it the agent makes one]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--dry-run[Show what would be done, and do nothing]' \
'--force[Go past guard.maxFraction, and ask nothing]' \
'--no-wait[Return once it is accepted\: it is on disk then, and will be carried out]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::things -- Thing names:_default' \
&& ret=0
;;
(associate)
_arguments "${_arguments_options[@]}" : \
'--from-file=[More of them from a file or, with -, from standard input\: one a line, or separated by white space; or a CSV file with a column thingName; or the JSON output of aws greengrassv2 list-client-devices-associated-with-core-device]:FILE:_files' \
'--reason=[Kept with the request, for people]:REASON:_default' \
'--expires-in=[What is not sent by then ends as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s name; the same one again is the same request. Without it the agent makes one]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--dry-run[Show what would be done, and do nothing]' \
'--force[Go past guard.maxFraction, and ask nothing]' \
'--no-wait[Return once it is accepted\: it is on disk then, and will be carried out]' \
'-h[Print help]' \
'--help[Print help]' \
'*::things -- Thing names:_default' \
&& ret=0
;;
(disassociate-assets)
_arguments "${_arguments_options[@]}" : \
'--asset=[The parent asset, by id or externalId\:]:ASSET:_default' \
'--hierarchy=[The parent'\''s hierarchy that the child is in]:HIERARCHY:_default' \
'--child=[The child asset]:ASSET:_default' \
'--reason=[Kept with the request, for people]:REASON:_default' \
'--expires-in=[What is not sent by then ends as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s name; the same one again is the same request. Without it the agent makes one]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--dry-run[Show what would be done, and do nothing]' \
'--force[Go past guard.maxFraction, and ask nothing]' \
'--no-wait[Return once it is accepted\: it is on disk then, and will be carried out]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(disassociate-project-assets)
_arguments "${_arguments_options[@]}" : \
'--project=[The project of SiteWise Monitor]:PROJECT:_default' \
'--from-file=[More of them from a file or, with -, from standard input\: one a line, or separated by white space; or a CSV file with a column assetId]:FILE:_files' \
'--reason=[Kept with the request, for people]:REASON:_default' \
'--expires-in=[What is not sent by then ends as TimedOut\: seconds, or 30s, 15m, 12h, 7d]:TIME:_default' \
'--token=[The request'\''s name; the same one again is the same request. Without it the agent makes one]:TOKEN:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--dry-run[Show what would be done, and do nothing]' \
'--force[Go past guard.maxFraction, and ask nothing]' \
'--no-wait[Return once it is accepted\: it is on disk then, and will be carried out]' \
'-h[Print help]' \
'--help[Print help]' \
'*::assets -- Assets in it:_default' \
&& ret=0
;;
(cancel)
_arguments "${_arguments_options[@]}" : \
'--client=[Whose request, if not your own]:CLIENT:_default' \
'--via=[The transport of that client\: mqtt (the default), pubsub, iot-core]:TRANSPORT:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':token -- The request'\''s token:_default' \
&& ret=0
;;
(requests)
_arguments "${_arguments_options[@]}" : \
'--client=[Whose; a request of that token is your own without this]:CLIENT:_default' \
'--via=[The transport of that client\: mqtt (the default), pubsub, iot-core]:TRANSPORT:_default' \
'()--status=[Only those\: IN_PROGRESS, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED, CANCELED, TIMED_OUT]:STATUS:_default' \
'--limit=[The newest so many, or as many failed entries]:N:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'(--limit)--all[All of them]' \
'-h[Print help]' \
'--help[Print help]' \
'::token -- One request, with what failed of it; without it all of them, newest first:_default' \
&& ret=0
;;
(devices)
_arguments "${_arguments_options[@]}" : \
'()--state=[Only those\: ASSOCIATED, ASSOCIATING, DISASSOCIATING, DISASSOCIATED]:STATE:_default' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--history[With what happened to it\: who asked, what the cloud answered, what its lists showed]' \
'-h[Print help]' \
'--help[Print help]' \
'::thing -- One device; without it all of them, by name:_default' \
&& ret=0
;;
(sync)
_arguments "${_arguments_options[@]}" : \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--no-wait[Return once it is accepted]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'--metrics[Counters and gauges instead, in the text format of Prometheus; as JSON with --output json]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
'--config=[The agent'\''s configuration, a JSON file; without it the variable OFFBOARD_CONFIG, then what the running agent has]:FILE:_files' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(support-bundle)
_arguments "${_arguments_options[@]}" : \
'--file=[Where to write it; it must not be there yet]:FILE:_files' \
'--config=[The agent'\''s configuration, a JSON file; without it the variable OFFBOARD_CONFIG, then what the running agent has]:FILE:_files' \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(watch)
_arguments "${_arguments_options[@]}" : \
'--data-dir=[The running agent'\''s data directory; without it \$OFFBOARD_DATA_DIR, then where Greengrass keeps it]:DIR:_files' \
'--mqtt-url=[Go over the broker\: mqtt\://HOST\[\:PORT\] or mqtts\://HOST\[\:PORT\]]:URL:_default' \
'--core-device-thing-name=[The core device whose agent is asked]:THING:_default' \
'--client-id=[Your own name, as the broker knows you\: your thing name, or on Mosquitto your user name or your certificate'\''s common name. The agent records it as the one who asked]:THING:_default' \
'--ca-file=[The broker'\''s authority, PEM; without it the system'\''s own]:FILE:_files' \
'--cert-file=[Your certificate, PEM]:FILE:_files' \
'--key-file=[Its key, PEM]:FILE:_files' \
'--username=[A user name; its password is in \$OFFBOARD_MQTT_PASSWORD, where no list of processes shows it]:NAME:_default' \
'--topic-prefix=[The agent'\''s topicPrefix]:PREFIX:_default' \
'--output=[For people, or for programs\: one JSON document, as it crosses the broker]:OUTPUT:(table json)' \
'--timeout=[Seconds that the agent may take to answer (not\: to carry out what was asked)]:SECONDS:_default' \
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
'run:Run the agent, until SIGTERM or SIGINT' \
'disassociate:Take client devices off this core device.' \
'associate:Associate client devices with this core device' \
'disassociate-assets:Take an asset of AWS IoT SiteWise from its parent' \
'disassociate-project-assets:Take assets out of a project of SiteWise Monitor' \
'cancel:Withdraw what of a request was not sent yet' \
'requests:Show requests, or one with what failed of it' \
'devices:Show the registry, or one device' \
'sync:Read the cloud'\''s list now' \
'status:Show how the agent is. Fails if something is wrong' \
'check:Check what the agent needs, one line each\: configuration, data directory, store, broker, credentials, cloud, clock' \
'support-bundle:Write an archive for whoever is to help\: configuration without secrets, status, metrics, the latest requests, versions' \
'watch:Watch the agent at work, on a terminal of 80x24 or more' \
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
'run:Run the agent, until SIGTERM or SIGINT' \
'disassociate:Take client devices off this core device.' \
'associate:Associate client devices with this core device' \
'disassociate-assets:Take an asset of AWS IoT SiteWise from its parent' \
'disassociate-project-assets:Take assets out of a project of SiteWise Monitor' \
'cancel:Withdraw what of a request was not sent yet' \
'requests:Show requests, or one with what failed of it' \
'devices:Show the registry, or one device' \
'sync:Read the cloud'\''s list now' \
'status:Show how the agent is. Fails if something is wrong' \
'check:Check what the agent needs, one line each\: configuration, data directory, store, broker, credentials, cloud, clock' \
'support-bundle:Write an archive for whoever is to help\: configuration without secrets, status, metrics, the latest requests, versions' \
'watch:Watch the agent at work, on a terminal of 80x24 or more' \
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
