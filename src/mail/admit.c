/* SPDX-License-Identifier: MIT */
/*
 * Who the client is, and whether it may come in. Lists of proxies are looked at with the address of
 * the connection, all others with the address that the PROXY header gives, if there is one; an
 * address that XCLIENT gives counts for limits and refusals, but gives no rights.
 *
 * Its name is looked up meanwhile: only what needs it (a sender, a password) waits for it.
 */
#include "mail/internal.h"

#define NAME_MS 4000

static const struct ferry__networks *none(void)
{
    static const struct ferry__networks empty;

    return &empty;
}

static bool is_within(const struct ferry__networks *n, const struct ferry_addr *addr)
{
    return ferry__networks_has(addr->len ? n : none(), &addr->any);
}

void ferry__mail_leave(struct ferry__mail_session *s)
{
    uint8_t addr[16];

    if (s->entered && ferry__network_addr(&s->addr.any, addr))
        ferry__limits_leave(s->service->limits, addr);
    s->entered = false;
}

/* May it come in, with its address of now? NONE when it may. */
static enum ferry_smtp_reply entry(struct ferry__mail_session *s)
{
    uint64_t now = ferry_loop_now(s->thread->loop);
    uint8_t addr[16];

    if (s->thread->draining && !s->thread->lingering)
        return FERRY_SMTP_SHUTTING_DOWN;
    if (!s->opened)
        return FERRY_SMTP_TOO_MANY_CONNECTIONS;
    if (is_within(&s->service->deny, &s->addr))
        return FERRY_SMTP_DENIED;
    s->unlimited = is_within(&s->service->trusted, &s->addr);
    if (s->unlimited || !s->addr.len || !ferry__network_addr(&s->addr.any, addr))
        return FERRY_SMTP_NONE;
    if (!ferry__limits_enter(s->service->limits, addr, now))
        return FERRY_SMTP_TOO_MANY_OF_CLIENT;
    s->entered = true;
    if (!ferry__limits_may(s->service->limits, addr, FERRY__RATE_AUTH_FAILS, now))
        return FERRY_SMTP_TOO_MANY_OF_CLIENT;
    return FERRY_SMTP_NONE;
}

static void refuse(struct ferry__mail_session *s, enum ferry_smtp_reply reply)
{
    bool mute = s->service->given.tls == FERRY_MAIL_TLS_IMPLICIT && !s->facts.tls->on;

    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_REFUSED, 1);
    ferry__mail_session_line(s, "refused", reply, NULL);
    ferry_smtp_refuse(s->smtp, mute ? FERRY_SMTP_NONE : reply, ferry_loop_now(s->thread->loop));
    ferry_pump_kick(&s->pump);
}

static void greet(struct ferry__mail_session *s)
{
    ferry_smtp_greet(s->smtp, &s->client, ferry_loop_now(s->thread->loop));
    ferry_pump_kick(&s->pump);
}

/* -- its name ---------------------------------------------------------------------------------- */

static void named(struct ferry_lookup *lookup, const struct ferry_lookup_result *found)
{
    struct ferry__mail_session *s = ferry_container(lookup, struct ferry__mail_session, lookup);
    struct ferry_smtp_event held = s->held;

    s->naming = false;
    ferry__facts_name(&s->facts, found);
    if (!s->has_held)
        return;
    s->has_held = false;
    ferry__mail_event(s, &held);
    ferry__mail_session_settle(s);
}

static void look_up(struct ferry__mail_session *s)
{
    if (!s->thread->resolver || !s->service->given.names || !s->addr.len ||
        s->addr.any.sa_family == AF_UNIX)
        return;
    s->lookup.done = named;
    s->naming = ferry_lookup_name(s->thread->resolver, &s->lookup, &s->addr, true, NAME_MS) == 0;
    if (!s->naming)
        s->facts.name_status = "tempfail";
}

bool ferry__mail_named(struct ferry__mail_session *s, const struct ferry_smtp_event *ev)
{
    if (!s->naming || (ev->type != FERRY_SMTP_EV_MAIL && ev->type != FERRY_SMTP_EV_AUTH))
        return true;
    s->held = *ev;
    s->has_held = true;
    return false;
}

/* -- TLS --------------------------------------------------------------------------------------- */

/* After a failure nothing is read any more, and the connection ends when the alert is sent. */
static bool stands(struct ferry__mail_session *s, int err)
{
    if (s->closing)
        return false;
    if (err < 0) {
        ferry__mail_session_line(s, "tls-failed", FERRY_SMTP_NONE, ferry_tls_why(s->tls));
        return false;
    }
    s->facts.tls = ferry_tls_info(s->tls);
    ferry__mail_count(s->thread->mail, FERRY_MAIL_COUNT_TLS, 1);
    return true;
}

static void stands_at_once(void *arg, int err)
{
    struct ferry__mail_session *s = arg;

    if (stands(s, err))
        greet(s);
}

static void stands_now(void *arg, int err)
{
    struct ferry__mail_session *s = arg;

    if (!stands(s, err))
        return;
    ferry_smtp_tls(s->smtp, ferry_loop_now(s->thread->loop));
    s->facts.helo[0] = s->facts.auth_user[0] = 0;
    s->facts.helo_verb = s->facts.auth_mechanism = "";
    ferry_pump_kick(&s->pump);
}

void ferry__mail_starttls(struct ferry__mail_session *s)
{
    ferry_tls_start(s->tls, stands_now, s, ferry_loop_now(s->thread->loop));
    ferry_pump_kick(&s->pump);
}

/* -- coming in --------------------------------------------------------------------------------- */

void ferry__mail_admit(struct ferry__mail_session *s, const struct ferry_proxy *proxy)
{
    const struct ferry__mail_service *service = s->service;
    enum ferry_smtp_reply no;

    if (proxy && proxy->real) {
        ferry__facts_proxy(&s->facts, proxy, &s->addr);
        ferry__facts_client(&s->facts, &s->addr, FERRY_MAIL_ORIGIN_PROXY);
    }
    no = entry(s);
    if (no != FERRY_SMTP_NONE) {
        refuse(s, no);
        return;
    }
    s->client = (struct ferry_smtp_client){
        .trusted = is_within(&service->trusted, &s->addr),
        .xclient = is_within(&service->xclient_from, &s->addr),
        .xforward = is_within(&service->xforward_from, &s->addr),
    };
    look_up(s);
    if (service->given.tls == FERRY_MAIL_TLS_IMPLICIT) {
        ferry_tls_start(s->tls, stands_at_once, s, ferry_loop_now(s->thread->loop));
        ferry_pump_kick(&s->pump);
    } else {
        greet(s);
    }
}

void ferry__mail_xclient(struct ferry__mail_session *s, const struct ferry_smtp_attrs *attrs)
{
    struct ferry_addr addr;
    enum ferry_smtp_reply no;

    if (ferry__facts_xclient(&s->facts, attrs, &addr)) {
        if (s->naming)
            ferry_lookup_cancel(&s->lookup);
        s->naming = false;
        ferry__mail_leave(s);
        s->addr = addr;
        no = entry(s);
        if (no != FERRY_SMTP_NONE) {
            refuse(s, no);
            return;
        }
        if (strcmp(s->facts.name_status, "off") == 0)
            look_up(s);
    }
    greet(s);
}
