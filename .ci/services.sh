#!/bin/sh
# As root on Debian or Ubuntu, start what the tests talk to where it is installed but stopped: PostgreSQL, MariaDB
# and Redis at their usual ports. With CI set, install what is missing first, and a browser. Elsewhere, do nothing.
set -eu

[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0

have() {
    command -v "$1" >/dev/null 2>&1
}

# A server may also run in a container, without a client here to ask it.
answers() {
    bash -c ": </dev/tcp/127.0.0.1/$1" 2>/dev/null
}

wait_for() {
    tries=300
    until answers "$2"; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            echo "$1 was started, but does not answer at 127.0.0.1:$2." >&2
            exit 1
        fi
        sleep 1
    done
}

install() {
    [ -n "${CI:-}" ] || return 1
    echo "Installing $* ..."
    # The machine may be updating itself, and a mirror may be busy.
    patient="-o DPkg::Lock::Timeout=600 -o Acquire::Retries=5"
    if [ -z "${updated:-}" ]; then
        dpkg --configure -a >/dev/null # in case an installation was interrupted
        # shellcheck disable=SC2086
        apt-get $patient update -qq
    fi
    updated=yes
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get $patient install -qq -y --no-install-recommends "$@" >/dev/null
}

# What is installed here lets the tests in from this machine without a password, as postgres and as root.
install_postgresql() {
    install postgresql || return 1
    for file in /etc/postgresql/*/main/pg_hba.conf; do
        echo "host all all 127.0.0.1/32 trust" | cat - "$file" >"$file.new"
        cat "$file.new" >"$file"
        rm "$file.new"
    done
    [ "$(pg_lsclusters -h | awk 'NR == 1 { print $4 }')" = down ] || pg_ctlcluster "$(ls /etc/postgresql)" main reload
}

install_mariadb() {
    install mariadb-server || return 1
    start_mariadb
    mariadb --execute "ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('') OR unix_socket"
}

start_postgresql() {
    answers 5432 || pg_ctlcluster --skip-systemctl-redirect "$(ls /etc/postgresql)" main start
    wait_for PostgreSQL 5432
}

start_mariadb() {
    if ! answers 3306; then
        mkdir -p /run/mysqld
        chown mysql /run/mysqld
        start-stop-daemon --start --oknodo --background --exec /usr/sbin/mariadbd -- --user=mysql
    fi
    wait_for MariaDB 3306
}

start_redis() {
    answers 6379 || redis-server --daemonize yes --bind 127.0.0.1 --port 6379 --save "" --appendonly no >/dev/null
    wait_for Redis 6379
}

if answers 5432 || have pg_ctlcluster || install_postgresql; then start_postgresql; fi
if answers 3306 || [ -x /usr/sbin/mariadbd ] || install_mariadb; then start_mariadb; fi
if answers 6379 || have redis-server || install redis-server; then start_redis; fi

# To build mysqlclient, which has no wheels for Linux.
have mariadb_config || install libmariadb-dev pkg-config gcc || true

have chromium || have chromium-browser || have google-chrome || install chromium || true
