"""The requirements of each exercise, as data: one module for each."""

from __future__ import annotations

from ..requirement import Script
from . import (
    calc,
    chat,
    echo,
    files,
    ftp,
    greeting,
    guess,
    json_lookup,
    mail,
    proxy,
    sum_numbers,
    udp,
    web,
)

SCRIPTS: dict[str, Script] = {
    one.name: one
    for one in (
        greeting.GREETING_SERVER,
        greeting.GREETING_CLIENT,
        echo.ECHO_SERVER,
        echo.ECHO_CLIENT,
        sum_numbers.SUM_SERVER,
        sum_numbers.SUM_CLIENT,
        calc.CALC_SERVER,
        calc.CALC_CLIENT,
        guess.GUESS_SERVER,
        guess.GUESS_CLIENT,
        json_lookup.JSON_SERVER,
        json_lookup.JSON_CLIENT,
        udp.UDP_LOGGER,
        udp.UDP_SENDER,
        files.FILE_SERVER,
        files.FILE_CLIENT,
        chat.CHAT_SERVER,
        chat.CHAT_CLIENT,
        web.URL_TOOLS,
        web.FETCH_PAGE,
        web.URL_REPORT,
        web.DOWNLOAD_IMAGES,
        web.HTTP_SERVER,
        web.LIST_TEXT_FILES,
        mail.EMAIL_BUILDER,
        mail.SMTP_SERVER,
        mail.SMTP_CLIENT,
        ftp.FTP_LIST,
        proxy.TCP_PROXY,
    )
}
