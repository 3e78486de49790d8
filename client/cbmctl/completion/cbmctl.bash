# Completion of cbmctl for bash. Options and policy fields are read from the program's own --help.

_cbmctl_names() {
    cbmctl --color=never --deadline=200ms states 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_cbmctl() {
    local word=${COMP_WORDS[COMP_CWORD]} command='' help='' i
    local commands="run check report get states stats reset reset-all reset-manager configure remove force-open disable
        metrics-only enable reload ping info simulate command"
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --) # what follows is a command line of its own
            [[ $command == run ]] && _cbmctl_command $((i + 1)) && return
            ;;
        -a | --address | --color | --correlation-id | --deadline | =) ((i++)) ;;
        -*) ;;
        *) [[ -z $command ]] && command=${COMP_WORDS[i]} ;;
        esac
    done
    case $word in
    -*)
        help=$(cbmctl ${command:+"$command"} --help 2>/dev/null)
        mapfile -t COMPREPLY < <(compgen -W "$(grep -oE -- '--[a-z][a-z-]+' <<<"$help")" -- "$word")
        return
        ;;
    esac
    case $command in
    '') mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word") ;;
    get | configure | run)
        if [[ ${COMP_WORDS[COMP_CWORD - 1]} == "$command" ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_cbmctl_names)" -- "$word")
        else
            help=$(cbmctl "$command" --help 2>/dev/null)
            mapfile -t COMPREPLY < <(compgen -S = -W "$(sed -nE 's/^  ([a-z_]+) \(.*/\1/p' <<<"$help")" -- "$word")
            compopt -o nospace
        fi
        ;;
    report)
        if [[ ${COMP_WORDS[COMP_CWORD - 1]} == report ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_cbmctl_names)" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W "success failure timeout ignored" -- "$word")
        fi
        ;;
    simulate)
        if [[ ${COMP_WORDS[COMP_CWORD - 1]} == simulate ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames
        else
            help=$(cbmctl simulate --help 2>/dev/null)
            mapfile -t COMPREPLY < <(compgen -S = -W "$(sed -nE 's/^  ([a-z_]+) \(.*/\1/p' <<<"$help")" -- "$word")
            compopt -o nospace
        fi
        ;;
    check | states | reset | remove | force-open | disable | metrics-only | enable)
        mapfile -t COMPREPLY < <(compgen -W "$(_cbmctl_names)" -- "$word")
        ;;
    esac
}

# The words from number $1 on, completed as the command line that they are; plain files where bash-completion is not loaded.
_cbmctl_command() {
    if declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif ((COMP_CWORD == $1)); then
        mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
    fi
}

complete -F _cbmctl cbmctl
