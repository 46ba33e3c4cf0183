/* SPDX-License-Identifier: MIT */
/* call and application: the ends of chains, which hand a request to an application as it stands. */
#include <errno.h>

#include "session/session.h"

/* The filter is the client itself. */
static int call_run(struct ferry_session *s, void *filter, void *local)
{
    (void)filter;
    /* php_fs found nothing to run, and an application without a script runs what it likes. */
    if (s->script == FERRY_SCRIPT_NONE)
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    s->host->call(s, &(struct ferry_session_call){
                         .client = local, .role = s->role, .no_body = s->no_body, .key = s->key});
    return FERRY_STEP_DONE;
}

static int application_run(struct ferry_session *s, void *filter, void *local)
{
    s->basic = s->fields = true;
    /* Mounted here, the whole path is its PATH_INFO (RFC 3875 section 4.1.13). */
    if (s->script != FERRY_SCRIPT_SET)
        s->rq.path_info = s->path.path;
    s->script = FERRY_SCRIPT_SET;
    return call_run(s, filter, local);
}

static int call_join(void *filter, struct ferry_session_thread *t, void **local)
{
    *local = ferry_session_thread_client(t, filter);
    return *local ? 0 : -ENOMEM;
}

static const struct ferry_filter_ops call_ops = {
    .name = "call", .run = call_run, .join = call_join};
static const struct ferry_filter_ops application_ops = {
    .name = "application", .run = application_run, .join = call_join};

int ferry_filters_call(struct ferry_filters *to, struct ferry_client *client)
{
    return client ? ferry_filters_push(to, &call_ops, client)
                  : ferry_filters_refuse(to, "call: it needs an application");
}

int ferry_filters_application(struct ferry_filters *to, struct ferry_client *client)
{
    return client ? ferry_filters_push(to, &application_ops, client)
                  : ferry_filters_refuse(to, "application: it needs one to call");
}
