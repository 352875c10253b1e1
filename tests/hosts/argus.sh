#!/usr/bin/env bash
# A real Argus with argus_maint in it; its workers are killed in the middle of a
# notification, and the notification is sent all the same. See README.md beside this.
#   tests/hosts/argus.sh            on Django 5.2 and on 6.1
#   tests/hosts/argus.sh 6.1        on this one only
# PYTHON names the Python to use. ARGUS_MAINT_CACHE names a folder in which the
# environments are kept for the next run. PostgreSQL is looked for where
# ARGUS_MAINT_TEST_POSTGRES_{HOST,PORT,USER,PASSWORD} say, by default on this machine.
set -euo pipefail
export LC_ALL=C.UTF-8

argus=2.10.2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
overriding='[{"app_name": "argus_maint"}]'

export ARGUS_STARTED=$EPOCHREALTIME
export PGHOST=${ARGUS_MAINT_TEST_POSTGRES_HOST:-127.0.0.1}
export PGPORT=${ARGUS_MAINT_TEST_POSTGRES_PORT:-5432}
export PGUSER=${ARGUS_MAINT_TEST_POSTGRES_USER:-postgres}
export PGPASSWORD=${ARGUS_MAINT_TEST_POSTGRES_PASSWORD:-}
export PGCONNECT_TIMEOUT=5
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

# The same clock and the same look as the lines of argus_kills.py.
say() {
    local tenths=$(((${EPOCHREALTIME/./} - ${ARGUS_STARTED/./}) / 100000))
    printf '%4d.%d s  %s\n' $((tenths / 10)) $((tenths % 10)) "$*"
}

die() {
    say "FAILED: $*"
    exit 1
}

# Runs a command in a process group of its own and in the background: a signal to this
# script is then acted on at once, and ends all that the command has started.
group='' database=''
run() {
    local status=0
    setsid "$@" </dev/null &
    group=$!
    wait "$group" || status=$?
    group=''
    return "$status"
}

end_group() {
    [ -n "$group" ] || return 0
    kill -TERM -- "-$group" 2>/dev/null || true
    timeout 20 tail --pid="$group" -f /dev/null || true
    # What has outlived it, or would not listen.
    kill -KILL -- "-$group" 2>/dev/null || true
}

# quietly LOG COMMAND...: shows the end of what it said only where it fails
quietly() {
    local log=$1 status=0
    shift
    run "$@" >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 25 "$log"
    return "$status"
}

# --- what has to be there -----------------------------------------------------

psql_() { psql -qXtAw -v ON_ERROR_STOP=1 -d postgres "$@"; }

# A shim may be on PATH for a version that is not selected, so each is tried.
find_python() { # find_python DJANGO
    local candidate oldest=10
    [ "$1" = 5.2 ] || oldest=12
    local candidates=("${PYTHON:-}")
    [ -n "${PYTHON:-}" ] || candidates=(python3.13 python3.12
        "$(pyenv root 2>/dev/null || echo ~/.pyenv)"/versions/3.1[23].*/bin/python3
        python3 python3.11 python3.10)
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, $oldest))" \
            2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

# Installs Debian's packages for what is missing.
need() { # need "PACKAGE..." TEST...
    local packages
    read -ra packages <<<"$1"
    ! "${@:2}" >/dev/null 2>&1 || return 0
    command -v apt-get >/dev/null || die "${packages[*]}: missing, and there is no apt-get"
    [ "$(id -u)" = 0 ] || die "missing: as root, run 'apt-get install ${packages[*]}' first"
    say "installing ${packages[*]} from Debian"
    if ! run apt-get update -qq ||
        ! DEBIAN_FRONTEND=noninteractive quietly "$work/apt.log" \
            apt-get install -y -qq --no-install-recommends "${packages[@]}"; then
        die "${packages[*]} could not be installed"
    fi
}

# Argus wants psycopg[c], which is compiled: there is no wheel of it.
need_compiler() { # need_compiler PYTHON
    need "libpq-dev" command -v pg_config
    need "build-essential" command -v cc
    need "python3-dev" "$1" -c \
        'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
}

# --- one run ------------------------------------------------------------------

# The environment: Argus, and argus_maint from a wheel that is built for this run.
make_venv() { # make_venv DJANGO PYTHON
    local wanted extra=''
    # Argus needs the backport on every Django; on 5.2 django-tasks-db needs it too.
    [ "$1" = 6.1 ] || extra='[backport]'
    venv=$work/venv
    if [ -n "${ARGUS_MAINT_CACHE:-}" ]; then
        mkdir -p "$ARGUS_MAINT_CACHE"
        venv=$(cd "$ARGUS_MAINT_CACHE" && pwd)/argus-$argus-django-$1
    fi
    wanted="$("$2" -VV | tr '\n' ' ') $2 $(cksum <"$here/argus-constraints.txt")"
    if [ "$(cat "$venv/made-from" 2>/dev/null)" != "$wanted" ]; then
        need_compiler "$2"
        rm -rf "$venv"
        run "$2" -m venv "$venv" || die "the environment could not be made"
    fi
    # In a kept environment this does no more than build and install argus_maint again.
    quietly "$work/pip.log" "$venv/bin/python" -m pip install \
        -c "$here/argus-constraints.txt" "argus-server==$argus" "Django~=$1.0" "$root$extra" ||
        die "pip could not install it"
    echo "$wanted" >"$venv/made-from"
    "$venv/bin/python" -m pip check >"$work/pip.log" || die "$(cat "$work/pip.log")"
    PATH=$venv/bin:$PATH
}

has_processes() {
    run django-admin db_worker --help >"$work/help.log" && grep -q -- --processes "$work/help.log"
}

# What Argus itself says is none of our business; nothing of ours may be in it.
check_site() {
    local said=$work/check.log

    run django-admin check >"$said" 2>&1 || die "check fails: $(cat "$said")"
    [ "$(grep -o 'argus_maint\.[EW][0-9]*' "$said")" = argus_maint.W001 ] ||
        die "check should say argus_maint.W001 and no more of ours: $(cat "$said")"

    ARGUS_OVERRIDING_APPS='[{"app_name": "argus_maint",
        "settings": {"ARGUS_MAINT": {"RESCUE": {"*": {}}}}}]' \
        run django-admin check >"$said" 2>&1 || die "check with RESCUE set: $(cat "$said")"
    ! grep -q argus_maint "$said" || die "check with RESCUE set: $(cat "$said")"

    run django-admin makemigrations --check --dry-run argus_maint >"$said" 2>&1 ||
        die "a migration of ours is missing under Argus: $(cat "$said")"

    has_processes || die "db_worker is not ours"
    say "check and makemigrations are content, and db_worker is ours"
}

# Behind django_tasks_db the stock command wins, and our check has to say so.
check_wrong_order() {
    local said=$work/check.log
    (
        unset ARGUS_OVERRIDING_APPS
        export ARGUS_EXTRA_APPS=$overriding
        ! has_processes || die "db_worker is ours although argus_maint is listed last"
        ! run django-admin check >"$said" 2>&1 || die "check accepts ARGUS_EXTRA_APPS"
    )
    grep -q '(argus_maint\.E010)' "$said" || die "no argus_maint.E010: $(cat "$said")"
    say "in ARGUS_EXTRA_APPS it is argus_maint.E010"
}

# A command that its users have to put into a crontab today, and every job of ours.
check_jobs() {
    local said=$work/jobs.log job
    export ARGUS_OVERRIDING_APPS='[{"app_name": "argus_maint", "settings": {"ARGUS_MAINT":
        {"RESCUE": {"*": {}}, "JOBS": {
            "tokens": {"command": "check_token_expiry", "schedule": "0 6 * * *"}}}}}]'
    for job in tokens rescue prune storage history; do
        run django-admin maint run "$job" >"$said" 2>&1 || die "the job $job: $(cat "$said")"
    done
    run django-admin maint jobs --json >"$said" 2>&1 || die "maint jobs: $(cat "$said")"
    [ "$(grep -c '"state": "done"' "$said")" = 5 ] || die "five runs are not done: $(cat "$said")"
    say "check_token_expiry and our jobs run, and are on record"
}

clean_up() {
    set +e
    trap '' TERM HUP # once is enough
    end_group
    [ -z "$database" ] || psql_ -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"
    rm -rf "$work"
}

one() { # one DJANGO: all of it, in a subshell
    local python
    work=$(mktemp -d)
    mkdir "$work/tmp" "$work/hosts" "$work/logs"
    export TMPDIR=$work/tmp # a pip that is interrupted leaves its own there
    trap clean_up EXIT
    trap 'exit 143' TERM HUP

    say "Argus $argus on Django $1"
    python=$(find_python "$1") || die "no Python for Django $1: name one with PYTHON="
    need postgresql-client command -v psql
    psql_ -c 'select 1' >/dev/null || die "PostgreSQL does not let $PGUSER in at $PGHOST:$PGPORT"

    make_venv "$1" "$python"
    say "installed: $(python -V), $(python -m pip list --format=freeze |
        grep -iE '^(django|django-tasks|django-tasks-db|argus-maint)==' | tr '\n' ' ')"

    # Of its own for each run, so that two runs on one server do not meet.
    database=argus_maint_host_${1/./}_$$_$RANDOM
    psql_ -c "CREATE DATABASE $database"

    # A copy, so that argus_maint can only come from the environment.
    cp "$here"/*.py "$work/hosts"
    cd "$work"
    export PYTHONPATH=$work PYTHONUNBUFFERED=1
    export DJANGO_SETTINGS_MODULE=hosts.argus_settings
    export ARGUS_OVERRIDING_APPS=$overriding ARGUS_SEND_NOTIFICATIONS=1
    export ARGUS_FRONTEND_URL=http://127.0.0.1 ARGUS_LOGS=$work/logs
    export ARGUS_SOURCE=test-source ARGUS_PASSWORD=$RANDOM$RANDOM$RANDOM
    SECRET_KEY=$(python -c 'import secrets; print(secrets.token_urlsafe(50))')
    DATABASE_URL=$(python -c 'from os import environ as e; from urllib.parse import quote as q
print("postgresql://" + q(e["PGUSER"], "") + ":" + q(e["PGPASSWORD"], "")
      + "@" + q(e["PGHOST"], "") + ":" + e["PGPORT"])')/$database
    export SECRET_KEY DATABASE_URL

    quietly "$work/log" django-admin migrate -v 0 || die "migrate"
    say "migrated"
    check_site
    check_wrong_order
    (check_jobs) || exit 1
    quietly "$work/log" django-admin initial_setup -e admin@example.org || die "initial_setup"
    quietly "$work/log" django-admin create_source "$ARGUS_SOURCE" || die "create_source"
    quietly "$work/log" django-admin setpassword "$ARGUS_SOURCE" "$ARGUS_PASSWORD" ||
        die "setpassword"
    run python -m hosts.argus_kills || exit 1
}

# --- all of them --------------------------------------------------------------

current='' # global: the trap outlives the function
main() {
    local version passed=0 failed=0
    for version in "$@"; do
        [[ $version =~ ^(5\.2|6\.1)$ ]] || {
            echo "usage: $0 [5.2] [6.1]" >&2
            exit 2
        }
    done
    trap '[ -z "$current" ] || kill -TERM "$current"; wait' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    for version in "$@"; do
        # In the background: as a condition, all of it would run without -e.
        one "$version" &
        current=$!
        if wait "$current"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
        current=''
    done
    say "done"
    echo "argus: $passed passed, $failed failed"
    [ "$failed" = 0 ]
}

[ $# -gt 0 ] || set -- 5.2 6.1
main "$@"
